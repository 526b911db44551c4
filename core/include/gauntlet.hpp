// Plugins in C++17: a class for each attack, model or metric, and GAUNTLET_PLUGIN once per library.
//
// It wraps gauntlet.h. Tensors are at::Tensor, owned as usual. The boundary catches exceptions:
//
// - gauntlet::Error says that something cannot be done. The work at hand fails.
// - After any other exception the object is not used again.
// - Do not catch what the oracle throws: it also says that the work shall be given up.

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

// Something cannot be done, for this reason.
struct Error : std::runtime_error {
    explicit Error(const std::string &why, int32_t status = GAUNTLET_FAILED)
        : std::runtime_error(why), status(status) {}
    int32_t status;
};

// ---------------------------------------------------------------- texts and tensors

inline GauntletText text(const std::string &of) { return {of.data(), of.size()}; }
inline std::string read(GauntletText from) {
    return from.length ? std::string(from.data, from.length) : std::string();
}
inline void put(GauntletSink sink, const std::string &what) {
    if (sink.put) sink.put(sink.context, text(what));
}

// A text as a TOML string.
inline std::string quoted(const std::string &what) {
    std::string toml = "\"";
    for (unsigned char c : what) {
        char code[8];
        if (c == '"' || c == '\\') (toml += '\\') += char(c);
        else if (c < 0x20 || c == 0x7f)
            std::snprintf(code, sizeof code, "\\u%04x", c), toml += code;
        else toml += char(c);
    }
    return toml + "\"";
}

// The text of a string of the program's: one line, with JSON's escapes.
inline std::string unquoted(const std::string &toml) {
    static const std::string codes = "bfnrt", meant = "\b\f\n\r\t";
    std::string text;
    for (size_t n = 1; n + 1 < toml.size(); ++n) {
        if (toml[n] != '\\') text += toml[n];
        else if (toml[++n] == 'u') // a control character, of one byte
            text += char(std::stoi(toml.substr(n + 1, 4), nullptr, 16)), n += 4;
        else if (size_t code = codes.find(toml[n]); code != codes.npos) text += meant[code];
        else text += toml[n];
    }
    return text;
}

// A number as a TOML float.
inline std::string number(double value) {
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.17g", value);
    std::string text = digits;
    return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

// Hands a tensor over.
inline GauntletTensor give(at::Tensor tensor) {
    return {new at::Tensor(std::move(tensor)),
            [](void *handle) { delete static_cast<at::Tensor *>(handle); }};
}

// Borrows a tensor that is lent.
inline at::Tensor borrow(GauntletTensorRef handle) {
    if (!handle) throw Error("a tensor is missing");
    return *static_cast<const at::Tensor *>(handle);
}

// Takes a tensor that was handed over.
inline at::Tensor take(GauntletTensor &from) {
    GauntletTensor taken = std::exchange(from, GauntletTensor{nullptr, nullptr});
    at::Tensor copy = borrow(taken.handle);
    if (taken.release) taken.release(taken.handle);
    return copy;
}

// Does the work of a function of the interface, and gives its status. No exception leaves it.
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

// Calls a function of the interface. Throws its error.
template <class Call> void call(Call function) {
    std::string why;
    auto append = [](void *context, GauntletText more) {
        static_cast<std::string *>(context)->append(more.data, more.length);
    };
    int32_t status = function(GauntletSink{&why, append});
    if (status != GAUNTLET_OK) throw Error(why, status);
}

// ---------------------------------------------------------------- parameters

// A parameter's name, and a value as TOML.
struct Setting {
    Setting(std::string name, double value) : name(name), value(number(value)) {}
    Setting(std::string name, int value) : name(name), value(std::to_string(value)) {}
    Setting(std::string name, bool value) : name(name), value(value ? "true" : "false") {}
    Setting(std::string name, const char *value) : name(name), value(quoted(value)) {}
    std::string name, value;
};

// A parameter: its name, its default, its meaning for `runner list` and, for a text that has one of
// a few values, all of these. The program refuses others.
struct Parameter : Setting {
    template <class Value>
    Parameter(std::string name, Value value, std::string about,
              std::vector<std::string> choices = {})
        : Setting(name, value), about(about), choices(choices) {}
    std::string about;
    std::vector<std::string> choices;
};

// A named set of parameters: those that differ from the defaults.
struct Preset {
    std::string name, summary;
    std::vector<Setting> settings;
};

// The parameters that an object is made with. The program has checked names and types.
class Parameters {
public:
    explicit Parameters(std::string toml) : lines("\n" + std::move(toml)) {}
    double real(const std::string &name) const { return std::stod(value(name)); }
    int64_t integer(const std::string &name) const { return std::stoll(value(name)); }
    bool flag(const std::string &name) const { return value(name) == "true"; }
    std::string text(const std::string &name) const { return unquoted(value(name)); }

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
    explicit Cases(const GauntletCases &from)
        : pixels(borrow(from.pixels)), goals(from.goals, from.goals + from.count) {}

    size_t size() const { return goals.size(); }

    at::Tensor pixels; // N×C×H×W float32 in [0, 1]
    std::vector<GauntletGoal> goals;
};

// How far each goal is, in logits: M×K → M. It is below zero where the goal is met, untargeted or
// targeted.
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

// What Oracle::gradient gives for a batch of M rows.
struct Gradient {
    at::Tensor logits; // M×K
    at::Tensor loss;   // M
    at::Tensor pixels; // M×C×H×W: the gradient of each row's loss with respect to its pixels
};

// All that an attack or a metric gets to see of a model. `cases` says for each row which case it
// belongs to.
class Oracle {
public:
    explicit Oracle(const GauntletOracle &table) : table(&table) {}

    // Greatest number of rows that a batch shall have.
    size_t lanes() const { return table->lanes ? table->lanes : 1; }

    // The model's card, as TOML.
    std::string card() const { return read(table->card); }

    // The M×K logits of M×C×H×W pixels.
    at::Tensor logits(const std::vector<size_t> &cases, const at::Tensor &pixels) const {
        GauntletTensor answer{};
        call([&](GauntletSink error) {
            return table->logits(table->context, cases.data(), cases.size(), &pixels, &answer,
                                 error);
        });
        return take(answer);
    }

    // Logits, losses and gradients of M×C×H×W pixels. `loss` maps M×K logits to M losses.
    Gradient gradient(const std::vector<size_t> &cases, const at::Tensor &pixels,
                      std::function<at::Tensor(const at::Tensor &)> loss) const {
        auto ask = [](void *context, GauntletTensorRef logits, GauntletTensor *answer,
                      GauntletSink error) {
            return serve(error, [&] {
                *answer = give((*static_cast<decltype(loss) *>(context))(borrow(logits)));
            });
        };
        GauntletGradient answer{};
        call([&](GauntletSink error) {
            return table->gradient(table->context, cases.data(), cases.size(), &pixels,
                                   GauntletLoss{&loss, ask}, &answer, error);
        });
        return {take(answer.logits), take(answer.loss), take(answer.pixels)};
    }

    // Random numbers in [0, 1) in the shape of `like`, from the case's own stream. The first `skip`
    // numbers of the stream are left out.
    at::Tensor uniform(size_t case_index, const at::Tensor &like, uint64_t skip = 0) const {
        std::vector<uint32_t> bits(like.numel());
        auto *bytes = reinterpret_cast<uint8_t *>(bits.data());
        call([&](GauntletSink error) {
            return table->random(table->context, case_index, 4 * skip, bytes, 4 * bits.size(),
                                 error);
        });
        std::vector<float> values(bits.size());
        for (size_t n = 0; n < bits.size(); ++n) values[n] = float(bits[n] >> 8) / float(1 << 24);
        return at::tensor(values).view_as(like).to(like.device());
    }

    // Throws when there is no more time. Long work that does not call the model calls this instead.
    void check_time() const {
        call([&](GauntletSink error) { return table->check_time(table->context, error); });
    }

private:
    const GauntletOracle *table;
};

// ---------------------------------------------------------------- what a plugin brings

// A ball around the image that an attack does not leave.
struct Budget {
    const char *norm; // "linf", "l1" or "l2", of the whole image
    double radius;    // pixels in [0, 1]
};

// Passes through the model that a case is expected to take. A backward pass comes after one of the
// forward passes.
struct Cost {
    double forward, backward;
};

// An attack. Its class also has the static members `name`, `summary` and `parameters()`, may have
// `presets()`, and has a constructor that takes `Parameters`. Several threads use an object at a
// time.
class Attack {
public:
    virtual ~Attack() = default;
    // Further named sets of parameters.
    static std::vector<Preset> presets() { return {}; }
    // The greatest distance between an answer and its image, if the parameters limit it.
    virtual std::optional<Budget> budget() const { return std::nullopt; }
    // What a case with such a goal costs, if that is known before it runs.
    virtual std::optional<Cost> cost(const GauntletGoal &) const { return std::nullopt; }
    // Gives for each case C×H×W pixels, or nothing. An answer depends on its own case alone.
    virtual std::vector<std::optional<at::Tensor>> run(const Oracle &oracle,
                                                       const Cases &cases) const = 0;
};

// What a reader of a result needs to know about a model.
struct Card {
    std::string name, family;
    int64_t side = 0, classes = 0;
    std::string source;
    int64_t label_offset = 0;
    int64_t channels = 3;          // 3 for RGB, 1 for grey
    int64_t height = 0, width = 0; // where the images are not square; `side` is then 0
};

// Named tensors. The program reports all that do not fit, together.
class Weights {
public:
    explicit Weights(const GauntletWeights &table) : table(&table) {}

    at::Tensor tensor(const std::string &name, const std::vector<int64_t> &shape,
                      uint32_t role) const {
        GauntletTensor answer{};
        call([&](GauntletSink error) {
            return table->tensor(table->context, text(name), shape.data(), shape.size(), role,
                                 &answer, error);
        });
        return take(answer);
    }

private:
    const GauntletWeights *table;
};

// A model. Its class also has the static members `name`, `summary`, `parameters()`,
// `card(Parameters)` and `weights()` (the bytes of a safetensors file, see GAUNTLET_EMBED, or
// nothing), and a constructor that takes `Parameters` and `Weights`.
class Model {
public:
    virtual ~Model() = default;
    // The N×classes logits of N×C×H×W float32 pixels in [0, 1], differentiable. Row n depends on
    // image n alone.
    virtual at::Tensor logits(const at::Tensor &pixels) const = 0;
};

// What the values of a metric are.
struct Measure {
    std::string unit;
    bool higher_is_more_robust;
    std::optional<double> at_identity = std::nullopt; // of an image and itself, if always the same
    bool symmetric = false;        // whether exchanging the two images leaves the value the same
    std::string scope = "outcome"; // or "model"
};

// A metric. Its class also has the static members `name`, `summary`, `parameters()` and
// `measure()`, may have `presets()`, and has a constructor that takes `Parameters`. It implements
// the function of its scope.
class Metric {
public:
    virtual ~Metric() = default;
    // Further named sets of parameters.
    static std::vector<Preset> presets() { return {}; }
    // What a case with such a goal costs for a model with so many classes, for the scope `model`.
    virtual std::optional<Cost> cost(const GauntletGoal &, int64_t) const { return std::nullopt; }
    // Gives a value per row of two N×C×H×W batches.
    virtual std::vector<double> outcome(const at::Tensor &, const at::Tensor &) const {
        throw Error("it measures no outcomes");
    }
    // Gives a value per case.
    virtual std::vector<double> model(const Oracle &, const Cases &) const {
        throw Error("it measures no models");
    }
};

} // namespace gauntlet

#include "gauntlet_tables.hpp"

#define GAUNTLET_TEXT_OF(what) #what
#define GAUNTLET_TEXT(what) GAUNTLET_TEXT_OF(what)

// Exports what the library brings. Arguments: the library's name (an identifier), its version (a
// text), and its items, `gauntlet::attack<Mine>()` and the like.
#define GAUNTLET_PLUGIN(id, version, ...)                                                          \
    __attribute__((section(".gauntlet"), used)) static const char gauntlet_stamp[] =               \
        "abi = " GAUNTLET_TEXT(GAUNTLET_ABI) "\nwith = \"gauntlet.hpp\"\ntarget = \""              \
        GAUNTLET_TARGET "\"\nlibtorch = \"" GAUNTLET_TEXT(TORCH_VERSION_MAJOR) "."                 \
        GAUNTLET_TEXT(TORCH_VERSION_MINOR) "." GAUNTLET_TEXT(TORCH_VERSION_PATCH)                  \
        "\"\nname = \"" #id "\"\nversion = \"" version "\"\ncompiler = \"C++ " __VERSION__         \
        "\"\npanic = \"unwind\"\nentry = \"gauntlet_plugin_" #id "\"\n";                           \
    extern "C" __attribute__((visibility("default"))) const GauntletPlugin *                       \
        gauntlet_plugin_##id(const GauntletHost *) {                                               \
        static const GauntletItem items[] = {__VA_ARGS__};                                         \
        static const GauntletPlugin plugin = {                                                     \
            sizeof plugin, GAUNTLET_ABI, 0, {gauntlet_stamp, sizeof gauntlet_stamp - 1},           \
            items, sizeof items / sizeof *items};                                                  \
        return &plugin;                                                                            \
    }

// Defines a function `name()` that gives the bytes of a file, which becomes part of the library.
#define GAUNTLET_EMBED(name, path)                                                                 \
    __asm__(".section .rodata\n.global " #name "_begin, " #name "_end\n"                           \
            ".hidden " #name "_begin, " #name "_end\n"                                             \
            ".balign 16\n" #name "_begin:\n.incbin \"" path "\"\n"                                 \
            #name "_end:\n.byte 0\n.previous\n");                                                  \
    extern "C" const uint8_t name##_begin[], name##_end[];                                         \
    static GauntletBytes name() { return {name##_begin, size_t(name##_end - name##_begin)}; }
