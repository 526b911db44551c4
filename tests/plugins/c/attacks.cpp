// Attacks that use what gauntlet.hpp offers beyond the examples.

#include "gauntlet.hpp"

#include <stdexcept>

// Throws what its parameter `what` chooses. No exception may leave the library.
class Thrower : public gauntlet::Attack {
public:
    static constexpr const char *name = "thrower";
    static constexpr const char *summary = "throws";
    static std::vector<gauntlet::Parameter> parameters() {
        return {{"what", 0, "What is thrown."}};
    }

    explicit Thrower(const gauntlet::Parameters &given) : what(given.integer("what")) {
        if (what < 0) throw gauntlet::Error("`what` is negative");
    }

    std::vector<std::optional<at::Tensor>> run(const gauntlet::Oracle &,
                                               const gauntlet::Cases &cases) const override {
        switch (what) {
        case 0: throw gauntlet::Error("I would rather not");
        case 1: throw std::runtime_error("out of order");
        case 2: throw 2;
        case 3: (void)(cases.pixels + at::ones({7})); break;
        }
        return std::vector<std::optional<at::Tensor>>(cases.size());
    }

private:
    int64_t what;
};

// Answers with noise, and has parameters of every kind, presets and a cost.
class Noise : public gauntlet::Attack {
public:
    static constexpr const char *name = "noise";
    static constexpr const char *summary = "random images";
    static std::vector<gauntlet::Parameter> parameters() {
        return {
            {"scale", 1.0, "Greatest pixel."},
            {"skip", 0, "How many numbers of the stream are left out."},
            {"loud", false, "Whether it fails, with its note."},
            {"shape", "uniform", "Distribution of the pixels.", {"uniform", "constant"}},
            {"note", "say \"no\"", "Any text."},
        };
    }
    static std::vector<gauntlet::Preset> presets() {
        return {{"grey", "half of everything", {{"shape", "constant"}, {"scale", 0.5}}}};
    }

    explicit Noise(const gauntlet::Parameters &given)
        : scale(given.real("scale")), skip(given.integer("skip")), loud(given.flag("loud")),
          shape(given.text("shape")), note(given.text("note")) {}

    std::optional<gauntlet::Cost> cost(const GauntletGoal &goal) const override {
        if (loud) return std::nullopt;
        return gauntlet::Cost{goal.kind == GAUNTLET_GOAL_AWAY ? 3.0 : 5.0, scale};
    }

    std::vector<std::optional<at::Tensor>> run(const gauntlet::Oracle &oracle,
                                               const gauntlet::Cases &cases) const override {
        if (loud) throw gauntlet::Error(note);
        std::vector<std::optional<at::Tensor>> answers;
        for (size_t n = 0; n < cases.size(); ++n) {
            const at::Tensor image = cases.pixels[n];
            answers.push_back((shape == "uniform" ? oracle.uniform(n, image, skip)
                                                  : at::ones_like(image)) *
                              scale);
        }
        return answers;
    }

private:
    double scale;
    int64_t skip;
    bool loud;
    std::string shape, note;
};

// The mean brightness of three bands of a grey image that is wider than high.
class Bands : public gauntlet::Model {
public:
    static constexpr const char *name = "bands_cpp";
    static constexpr const char *summary = "means of vertical bands";
    static std::vector<gauntlet::Parameter> parameters() { return {}; }
    static gauntlet::Card card(const gauntlet::Parameters &) {
        gauntlet::Card card{name, "bands", 0, 3, summary};
        card.channels = 1;
        card.height = 8;
        card.width = 12;
        return card;
    }
    static GauntletBytes weights() { return {nullptr, 0}; }

    Bands(const gauntlet::Parameters &, const gauntlet::Weights &) {}

    at::Tensor logits(const at::Tensor &pixels) const override {
        return pixels.reshape({-1, 8, 3, 4}).mean({1, 3}) * 4 - 2;
    }
};

GAUNTLET_PLUGIN(attacks, "0.1.0", gauntlet::attack<Thrower>(), gauntlet::attack<Noise>(),
                gauntlet::model<Bands>())
