// Plugins in C++17: a class for each attack, model or metric, and GAUNTLET_PLUGIN once per library.
//
// A thin cover of gauntlet.h. Tensors are at::Tensor, owned as usual. No exception leaves a function:
// gauntlet::Error says that something cannot be done, and costs the work at hand; any other exception
// is a fault, after which the object is not used again. What the oracle throws is best let through.

#pragma once

#include "gauntlet.h"

#include <ATen/ATen.h>
#include <torch/headeronly/version.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#if !defined(__linux__) || !defined(__GLIBC__)
#error "plugin libraries are supported on Linux with glibc only"
#elif defined(__x86_64__)
#define GAUNTLET_TARGET "x86_64-unknown-linux-gnu"
#elif defined(__aarch64__)
#define GAUNTLET_TARGET "aarch64-unknown-linux-gnu"
#else
#error "no target is known for this processor"
#endif

namespace gauntlet {

// Something that cannot be done, and why.
struct Error : std::runtime_error {
    explicit Error(const std::string &why, int32_t status = GAUNTLET_FAILED) : std::runtime_error(why), status(status) {}
    int32_t status;
};

// ---------------------------------------------------------------- texts and tensors

inline GauntletText text(const std::string &of) { return {of.data(), of.size()}; }
inline std::string read(GauntletText from) { return from.length ? std::string(from.data, from.length) : std::string(); }
inline void put(GauntletSink sink, const std::string &what) {
    if (sink.put) sink.put(sink.context, text(what));
}

// A text as TOML.
inline std::string quoted(const std::string &what) {
    std::string made = "\"";
    for (unsigned char c : what) {
        char code[8];
        if (c == '"' || c == '\\') (made += '\\') += char(c);
        else if (c < 0x20 || c == 0x7f) std::snprintf(code, sizeof code, "\\u%04x", c), made += code;
        else made += char(c);
    }
    return made + "\"";
}

inline std::string number(double value) {
    char made[40];
    std::snprintf(made, sizeof made, "%.17g", value);
    std::string text = made;
    return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

inline GauntletTensor give(at::Tensor tensor) {
    return {new at::Tensor(std::move(tensor)), [](void *handle) { delete static_cast<at::Tensor *>(handle); }};
}
inline at::Tensor look(GauntletTensorRef handle) {
    if (!handle) throw Error("a tensor is missing");
    return *static_cast<const at::Tensor *>(handle);
}
inline at::Tensor take(GauntletTensor &from) {
    GauntletTensor taken = std::exchange(from, GauntletTensor{nullptr, nullptr});
    at::Tensor copy = look(taken.handle);
    if (taken.release) taken.release(taken.handle);
    return copy;
}

// Does the work of a function of the interface: no exception leaves it.
template <class Work> int32_t serve(GauntletSink error, Work work) noexcept {
    try {
        try {
            work();
            return GAUNTLET_OK;
        } catch (const Error &refused) {
            put(error, refused.what());
            return refused.status;
        } catch (const c10::Error &torch) {
            put(error, torch.what_without_backtrace());
        } catch (const std::exception &fault) {
            put(error, fault.what());
        } catch (...) {
            put(error, "an exception that is no std::exception");
        }
    } catch (...) {
    }
    return GAUNTLET_PANICKED;
}

// Calls a function of the interface; what it refuses is thrown.
template <class Call> void call(Call function) {
    std::string why;
    auto append = [](void *context, GauntletText more) { static_cast<std::string *>(context)->append(more.data, more.length); };
    int32_t status = function(GauntletSink{&why, append});
    if (status != GAUNTLET_OK) throw Error(why, status);
}

// ---------------------------------------------------------------- parameters

// A parameter: its name, its default as TOML, and what it means, for `runner list`.
struct Parameter {
    Parameter(std::string name, double value, std::string about) : name(name), value(number(value)), about(about) {}
    Parameter(std::string name, int value, std::string about) : name(name), value(std::to_string(value)), about(about) {}
    Parameter(std::string name, bool value, std::string about) : name(name), value(value ? "true" : "false"), about(about) {}
    std::string name, value, about;
};

// The values that an object is made with. The program has checked names and types.
class Parameters {
public:
    explicit Parameters(std::string toml) : lines("\n" + std::move(toml)) {}
    double real(const std::string &name) const { return std::stod(value(name)); }
    int64_t integer(const std::string &name) const { return std::stoll(value(name)); }
    bool flag(const std::string &name) const { return value(name) == "true"; }

private:
    std::string value(const std::string &name) const {
        size_t at = lines.find("\n" + name + " = ");
        if (at == std::string::npos) throw Error("there is no parameter `" + name + "`");
        at += name.size() + 4;
        return lines.substr(at, lines.find('\n', at) - at);
    }
    std::string lines;
};

// ---------------------------------------------------------------- cases and oracle

// Images with a goal each.
class Cases {
public:
    explicit Cases(const GauntletCases &from) : pixels(look(from.pixels)), goals(from.goals, from.goals + from.count) {}

    size_t size() const { return goals.size(); }

    at::Tensor pixels; // N×3×S×S float32 in [0, 1]
    std::vector<GauntletGoal> goals;
};

// How far some goals still are, in logits: M×K → M. Below zero the goal is met, whether away from a class
// or towards one.
inline at::Tensor margin(const at::Tensor &logits, const std::vector<GauntletGoal> &goals) {
    std::vector<int64_t> classes;
    std::vector<float> signs;
    for (const GauntletGoal &goal : goals) {
        classes.push_back(goal.class_index);
        signs.push_back(goal.kind == GAUNTLET_GOAL_AWAY ? 1.f : -1.f);
    }
    at::Tensor index = at::tensor(classes).to(logits.device()).unsqueeze(1);
    at::Tensor own = logits.gather(1, index).squeeze(1);
    at::Tensor best_other = logits.scatter(1, index, -INFINITY).amax({1});
    return (own - best_other) * at::tensor(signs).to(logits.device());
}

struct Gradient {
    at::Tensor logits; // M×K
    at::Tensor loss;   // M
    at::Tensor pixels; // M×3×S×S: the gradient of each row's loss
};

// All that an attack or a metric sees of a model. `cases` says for each row which case it belongs to.
class Oracle {
public:
    explicit Oracle(const GauntletOracle &table) : table(&table) {}

    // How many rows a batch shall have at the most.
    size_t lanes() const { return table->lanes ? table->lanes : 1; }

    // The model's card, as TOML.
    std::string card() const { return read(table->card); }

    at::Tensor logits(const std::vector<size_t> &cases, const at::Tensor &pixels) const {
        GauntletTensor answer{};
        call([&](GauntletSink error) { return table->logits(table->context, cases.data(), cases.size(), &pixels, &answer, error); });
        return take(answer);
    }

    // `loss` makes M losses of M×K logits.
    Gradient gradient(const std::vector<size_t> &cases, const at::Tensor &pixels, std::function<at::Tensor(const at::Tensor &)> loss) const {
        auto ask = [](void *context, GauntletTensorRef logits, GauntletTensor *answer, GauntletSink error) {
            return serve(error, [&] { *answer = give((*static_cast<decltype(loss) *>(context))(look(logits))); });
        };
        GauntletGradient answer{};
        call([&](GauntletSink error) {
            return table->gradient(table->context, cases.data(), cases.size(), &pixels, GauntletLoss{&loss, ask}, &answer, error);
        });
        return {take(answer.logits), take(answer.loss), take(answer.pixels)};
    }

    // Numbers in [0, 1) of a case's own random stream, in the shape of `like`; `skip` numbers come before.
    at::Tensor uniform(size_t case_index, const at::Tensor &like, uint64_t skip = 0) const {
        std::vector<uint32_t> bits(like.numel());
        auto *bytes = reinterpret_cast<uint8_t *>(bits.data());
        call([&](GauntletSink error) { return table->random(table->context, case_index, 4 * skip, bytes, 4 * bits.size(), error); });
        std::vector<float> values(bits.size());
        for (size_t n = 0; n < bits.size(); ++n) values[n] = float(bits[n] >> 8) / float(1 << 24);
        return at::tensor(values).view_as(like).to(like.device());
    }

    // Throws when there is no more time: for long work that does not ask the model.
    void check_time() const {
        call([&](GauntletSink error) { return table->check_time(table->context, error); });
    }

private:
    const GauntletOracle *table;
};

// ---------------------------------------------------------------- what a plugin brings

struct Budget {
    const char *norm; // "linf", "l1" or "l2", of the whole image
    double radius;
};

// An attack also has, as static members, `name`, `summary` and `parameters()`, and is made from
// `Parameters`. Objects are used by several threads at a time.
class Attack {
public:
    virtual ~Attack() = default;
    // How far from its image an answer lies at the most, if the parameters limit that.
    virtual std::optional<Budget> budget() const { return std::nullopt; }
    // 3×S×S pixels for each case, or nothing. An answer depends on its own case alone.
    virtual std::vector<std::optional<at::Tensor>> run(const Oracle &oracle, const Cases &cases) const = 0;
};

struct Card {
    std::string name, family;
    int64_t side, classes;
    std::string source;
    int64_t label_offset = 0;
};

// Named tensors. What does not fit is reported by the program, all together.
class Weights {
public:
    explicit Weights(const GauntletWeights &table) : table(&table) {}

    at::Tensor tensor(const std::string &name, const std::vector<int64_t> &shape, uint32_t role) const {
        GauntletTensor answer{};
        call([&](GauntletSink error) {
            return table->tensor(table->context, text(name), shape.data(), shape.size(), role, &answer, error);
        });
        return take(answer);
    }

private:
    const GauntletWeights *table;
};

// A model also has, as static members, `name`, `summary`, `parameters()`, `card(Parameters)` and
// `weights()` (the bytes of a safetensors file, see GAUNTLET_EMBED, or nothing), and is made from
// `Parameters` and `Weights`.
class Model {
public:
    virtual ~Model() = default;
    // N×3×S×S float32 in [0, 1] to N×classes, differentiable; row n depends on image n alone.
    virtual at::Tensor logits(const at::Tensor &pixels) const = 0;
};

struct Measure {
    std::string unit;
    bool higher_is_more_robust;
    std::optional<double> at_identity = std::nullopt; // the value of every image beside itself
    bool symmetric = false;                           // whether original and adversarial can change places
    std::string scope = "outcome";                    // or "model"
};

// A metric also has, as static members, `name`, `summary`, `parameters()` and `measure()`, and is made
// from `Parameters`. It implements the function of its scope.
class Metric {
public:
    virtual ~Metric() = default;
    // A value per row of two N×3×S×S batches.
    virtual std::vector<double> outcome(const at::Tensor &, const at::Tensor &) const { throw Error("it measures no outcomes"); }
    // A value per case.
    virtual std::vector<double> model(const Oracle &, const Cases &) const { throw Error("it measures no models"); }
};

// ---------------------------------------------------------------- tables

namespace table {

template <class T> std::string about() {
    std::string toml = "name = " + quoted(T::name) + "\nsummary = " + quoted(T::summary) + "\n";
    std::string values, descriptions;
    for (const Parameter &parameter : T::parameters()) {
        values += parameter.name + " = " + parameter.value + "\n";
        descriptions += "[[descriptions]]\nname = " + quoted(parameter.name) + "\ntext = " + quoted(parameter.about) + "\n";
    }
    if constexpr (std::is_base_of_v<Metric, T>) {
        const Measure measure = T::measure();
        toml += "unit = " + quoted(measure.unit) + "\nscope = " + quoted(measure.scope) + "\nsymmetric = " + (measure.symmetric ? "true" : "false") +
                "\ndirection = \"" + (measure.higher_is_more_robust ? "higher" : "lower") + "_is_more_robust\"\n";
        if (measure.at_identity) toml += "at_identity = " + number(*measure.at_identity) + "\n";
    }
    return toml + "[parameters]\n" + values + descriptions;
}

template <class T> GauntletHead head(size_t size) {
    // Without `resolve` the program checks names and types against what is described here.
    return {size, [](GauntletSink toml, GauntletSink error) { return serve(error, [&] { put(toml, about<T>()); }); }, nullptr};
}

// Objects go by their base class, so that one release serves all.
template <class Base, class T> int32_t make(GauntletText parameters, void **object, GauntletSink error) {
    return serve(error, [&] { *object = static_cast<Base *>(new T(Parameters(read(parameters)))); });
}
template <class Base> void release(void *object) { delete static_cast<Base *>(object); }
template <class Base> const Base &of(const void *object) { return *static_cast<const Base *>(object); }

inline void write(const std::vector<double> &found, double *values, size_t count) {
    if (found.size() != count) throw Error(std::to_string(found.size()) + " values, expected " + std::to_string(count));
    std::copy(found.begin(), found.end(), values);
}

} // namespace table

template <class T> GauntletItem attack() {
    static const GauntletAttack attack{
        table::head<T>(sizeof(GauntletAttack)),
        table::make<Attack, T>,
        [](const void *object, GauntletSink toml, GauntletSink error) {
            return serve(error, [&] {
                if (auto budget = table::of<Attack>(object).budget())
                    put(toml, "norm = " + quoted(budget->norm) + "\nradius = " + number(budget->radius) + "\n");
            });
        },
        [](const void *object, const GauntletOracle *oracle, const GauntletCases *cases, GauntletAnswer *answers, GauntletSink error) {
            return serve(error, [&] {
                auto found = table::of<Attack>(object).run(Oracle(*oracle), Cases(*cases));
                if (found.size() != cases->count)
                    throw Error(std::to_string(found.size()) + " answers for " + std::to_string(cases->count) + " cases");
                for (size_t n = 0; n < found.size(); ++n)
                    if (found[n]) answers[n] = {GAUNTLET_ANSWER_PIXELS, 0, give(*found[n])};
            });
        },
        table::release<Attack>,
    };
    return {GAUNTLET_ITEM_ATTACK, 0, &attack};
}

template <class T> GauntletItem model() {
    static const GauntletModel model{
        table::head<T>(sizeof(GauntletModel)),
        [](GauntletText parameters, GauntletSink toml, GauntletSink error) {
            return serve(error, [&] {
                const Card card = T::card(Parameters(read(parameters)));
                put(toml, "name = " + quoted(card.name) + "\nfamily = " + quoted(card.family) + "\nside = " + std::to_string(card.side) +
                              "\nclasses = " + std::to_string(card.classes) + "\nlabel_offset = " + std::to_string(card.label_offset) +
                              "\nsource = " + quoted(card.source) + "\n");
            });
        },
        [] { return T::weights(); },
        [](GauntletText parameters, const GauntletWeights *weights, void **object, GauntletSink error) {
            return serve(error, [&] { *object = static_cast<Model *>(new T(Parameters(read(parameters)), Weights(*weights))); });
        },
        [](const void *object, GauntletTensorRef pixels, GauntletTensor *logits, GauntletSink error) {
            return serve(error, [&] { *logits = give(table::of<Model>(object).logits(look(pixels))); });
        },
        table::release<Model>,
    };
    return {GAUNTLET_ITEM_MODEL, 0, &model};
}

template <class T> GauntletItem metric() {
    static const GauntletMetric metric{
        table::head<T>(sizeof(GauntletMetric)),
        table::make<Metric, T>,
        [](const void *object, GauntletTensorRef original, GauntletTensorRef adversarial, double *values, size_t count, GauntletSink error) {
            return serve(error, [&] { table::write(table::of<Metric>(object).outcome(look(original), look(adversarial)), values, count); });
        },
        [](const void *object, const GauntletOracle *oracle, const GauntletCases *cases, double *values, size_t count, GauntletSink error) {
            return serve(error, [&] { table::write(table::of<Metric>(object).model(Oracle(*oracle), Cases(*cases)), values, count); });
        },
        table::release<Metric>,
    };
    return {GAUNTLET_ITEM_METRIC, 0, &metric};
}

} // namespace gauntlet

#define GAUNTLET_TEXT_OF(what) #what
#define GAUNTLET_TEXT(what) GAUNTLET_TEXT_OF(what)

// The library's name (an identifier), its version (a text) and its items, `gauntlet::attack<Mine>()` and the like.
#define GAUNTLET_PLUGIN(id, version, ...)                                                                              \
    __attribute__((section(".gauntlet"), used)) static const char gauntlet_stamp[] =                                   \
        "abi = " GAUNTLET_TEXT(GAUNTLET_ABI) "\nwith = \"gauntlet.hpp\"\ntarget = \"" GAUNTLET_TARGET                   \
        "\"\nlibtorch = \"" GAUNTLET_TEXT(TORCH_VERSION_MAJOR) "." GAUNTLET_TEXT(TORCH_VERSION_MINOR) "." GAUNTLET_TEXT( \
            TORCH_VERSION_PATCH) "\"\nname = \"" #id "\"\nversion = \"" version "\"\ncompiler = \"C++ " __VERSION__      \
        "\"\npanic = \"unwind\"\nentry = \"gauntlet_plugin_" #id "\"\n";                                               \
    extern "C" __attribute__((visibility("default"))) const GauntletPlugin *gauntlet_plugin_##id(const GauntletHost *) { \
        static const GauntletItem items[] = {__VA_ARGS__};                                                             \
        static const GauntletPlugin plugin = {sizeof plugin, GAUNTLET_ABI, 0, {gauntlet_stamp, sizeof gauntlet_stamp - 1}, items, \
                                              sizeof items / sizeof *items};                                           \
        return &plugin;                                                                                                \
    }

// Makes `name()` give the bytes of a file, which becomes part of the library.
#define GAUNTLET_EMBED(name, path)                                                                                     \
    __asm__(".section .rodata\n.global " #name "_begin, " #name "_end\n.hidden " #name "_begin, " #name "_end\n"       \
            ".balign 16\n" #name "_begin:\n.incbin \"" path "\"\n" #name "_end:\n.byte 0\n.previous\n");                \
    extern "C" const uint8_t name##_begin[], name##_end[];                                                             \
    static GauntletBytes name() { return {name##_begin, size_t(name##_end - name##_begin)}; }
