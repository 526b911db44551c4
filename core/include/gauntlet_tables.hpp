// The tables of gauntlet.h, made of the classes of gauntlet.hpp, which includes this file.

#pragma once

#include "gauntlet.hpp"

#include <algorithm>
#include <type_traits>

namespace gauntlet {

namespace table {

// A value for each parameter, as TOML: its default, or what is set instead.
inline std::string values(const std::vector<Parameter> &all, const std::vector<Setting> &set) {
    std::string toml;
    for (const Parameter &parameter : all) {
        auto named = [&](const Setting &setting) { return setting.name == parameter.name; };
        const auto found = std::find_if(set.begin(), set.end(), named);
        const std::string &value = found == set.end() ? parameter.value : found->value;
        toml += parameter.name + " = " + value + "\n";
    }
    for (const Setting &setting : set) {
        auto named = [&](const Parameter &parameter) { return parameter.name == setting.name; };
        if (std::none_of(all.begin(), all.end(), named))
            throw Error("a preset sets `" + setting.name + "`, which is no parameter");
    }
    return toml;
}

// The description of a class in TOML, see GauntletHead.
template <class T> std::string about() {
    std::string toml = "name = " + quoted(T::name) + "\nsummary = " + quoted(T::summary) + "\n";
    const std::vector<Parameter> parameters = T::parameters();
    std::string tables = "[parameters]\n" + values(parameters, {});
    for (const Parameter &parameter : parameters) {
        tables += "[[descriptions]]\nname = " + quoted(parameter.name) +
                  "\ntext = " + quoted(parameter.about) + "\nchoices = [";
        for (const std::string &choice : parameter.choices) tables += quoted(choice) + ", ";
        tables += "]\n";
    }
    if constexpr (!std::is_base_of_v<Model, T>)
        for (const Preset &preset : T::presets())
            tables += "[[presets]]\nname = " + quoted(preset.name) +
                      "\nsummary = " + quoted(preset.summary) + "\n[presets.parameters]\n" +
                      values(parameters, preset.settings);
    if constexpr (std::is_base_of_v<Metric, T>) {
        const Measure measure = T::measure();
        toml += "unit = " + quoted(measure.unit) + "\nscope = " + quoted(measure.scope) +
                "\nsymmetric = " + (measure.symmetric ? "true" : "false") + "\ndirection = \"" +
                (measure.higher_is_more_robust ? "higher" : "lower") + "_is_more_robust\"\n";
        if (measure.at_identity) toml += "at_identity = " + number(*measure.at_identity) + "\n";
    }
    return toml + tables;
}

template <class T> GauntletHead head(size_t size) {
    // Without `resolve`, the program checks names and types against the description.
    return {size,
            [](GauntletSink toml, GauntletSink error) {
                return serve(error, [&] { gauntlet::put(toml, about<T>()); });
            },
            nullptr};
}

// Objects go out as pointers to their base class, so that one `release` serves all.
template <class Base, class T>
int32_t make(GauntletText parameters, void **object, GauntletSink error) {
    return serve(error,
                 [&] { *object = static_cast<Base *>(new T(Parameters(read(parameters)))); });
}
template <class Base> void release(void *object) { delete static_cast<Base *>(object); }
template <class Base> const Base &of(const void *object) {
    return *static_cast<const Base *>(object);
}

inline void put(GauntletSink toml, const std::optional<Cost> &cost) {
    if (cost)
        gauntlet::put(toml, "forward = " + number(cost->forward) +
                                "\nbackward = " + number(cost->backward) + "\n");
}

inline void write(const std::vector<double> &found, double *values, size_t count) {
    if (found.size() != count)
        throw Error(std::to_string(found.size()) + " values, expected " + std::to_string(count));
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
                    put(toml, "norm = " + quoted(budget->norm) +
                                  "\nradius = " + number(budget->radius) + "\n");
            });
        },
        [](const void *object, const GauntletOracle *oracle, const GauntletCases *cases,
           GauntletAnswer *answers, GauntletSink error) {
            return serve(error, [&] {
                auto found = table::of<Attack>(object).run(Oracle(*oracle), Cases(*cases));
                if (found.size() != cases->count)
                    throw Error(std::to_string(found.size()) + " answers for " +
                                std::to_string(cases->count) + " cases");
                for (size_t n = 0; n < found.size(); ++n)
                    if (found[n]) answers[n] = {GAUNTLET_ANSWER_PIXELS, 0, give(*found[n])};
            });
        },
        table::release<Attack>,
        [](const void *object, GauntletGoal goal, GauntletSink toml, GauntletSink error) {
            return serve(error, [&] { table::put(toml, table::of<Attack>(object).cost(goal)); });
        },
    };
    return {GAUNTLET_ITEM_ATTACK, 0, &attack};
}

template <class T> GauntletItem model() {
    static const GauntletModel model{
        table::head<T>(sizeof(GauntletModel)),
        [](GauntletText parameters, GauntletSink toml, GauntletSink error) {
            return serve(error, [&] {
                const Card card = T::card(Parameters(read(parameters)));
                put(toml, "name = " + quoted(card.name) + "\nfamily = " + quoted(card.family) +
                              (card.height ? "\nheight = " + std::to_string(card.height) : "") +
                              (card.width ? "\nwidth = " + std::to_string(card.width) : "") +
                              "\nside = " + std::to_string(card.side) +
                              "\nchannels = " + std::to_string(card.channels) +
                              "\nclasses = " + std::to_string(card.classes) +
                              "\nlabel_offset = " + std::to_string(card.label_offset) +
                              "\nsource = " + quoted(card.source) + "\n");
            });
        },
        [] { return T::weights(); },
        [](GauntletText parameters, const GauntletWeights *weights, void **object,
           GauntletSink error) {
            return serve(error, [&] {
                *object =
                    static_cast<Model *>(new T(Parameters(read(parameters)), Weights(*weights)));
            });
        },
        [](const void *object, GauntletTensorRef pixels, GauntletTensor *logits,
           GauntletSink error) {
            return serve(error,
                         [&] { *logits = give(table::of<Model>(object).logits(borrow(pixels))); });
        },
        table::release<Model>,
    };
    return {GAUNTLET_ITEM_MODEL, 0, &model};
}

template <class T> GauntletItem metric() {
    static const GauntletMetric metric{
        table::head<T>(sizeof(GauntletMetric)),
        table::make<Metric, T>,
        [](const void *object, GauntletTensorRef original, GauntletTensorRef adversarial,
           double *values, size_t count, GauntletSink error) {
            return serve(error, [&] {
                table::write(
                    table::of<Metric>(object).outcome(borrow(original), borrow(adversarial)),
                    values, count);
            });
        },
        [](const void *object, const GauntletOracle *oracle, const GauntletCases *cases,
           double *values, size_t count, GauntletSink error) {
            return serve(error, [&] {
                table::write(table::of<Metric>(object).model(Oracle(*oracle), Cases(*cases)),
                             values, count);
            });
        },
        table::release<Metric>,
        [](const void *object, GauntletGoal goal, int64_t classes, GauntletSink toml,
           GauntletSink error) {
            return serve(error,
                         [&] { table::put(toml, table::of<Metric>(object).cost(goal, classes)); });
        },
    };
    return {GAUNTLET_ITEM_METRIC, 0, &metric};
}

} // namespace gauntlet
