// PGD in an l2 ball, from a random start. Madry et al., "Towards Deep Learning Models Resistant to
// Adversarial Attacks", ICLR 2018; steps of length 2.5·ε/iterations as in its section 5.

#include "gauntlet.hpp"

class PgdL2 : public gauntlet::Attack {
public:
    static constexpr const char *name = "pgd_l2";
    static constexpr const char *summary =
        "projected gradient steps in an l2 ball from a random start (Madry et al. 2018)";
    static std::vector<gauntlet::Parameter> parameters() {
        return {
            {"epsilon", 1.5, "Radius of the ball around the image, euclidean, pixels in [0, 1]."},
            {"iterations", 20, "Number of steps, each of length 2.5·ε/iterations."},
        };
    }

    explicit PgdL2(const gauntlet::Parameters &given)
        : epsilon(given.real("epsilon")), iterations(given.integer("iterations")) {
        if (!(epsilon > 0))
            throw gauntlet::Error("`epsilon` is " + std::to_string(epsilon) +
                                  ", expected a positive number");
        if (iterations < 1)
            throw gauntlet::Error("`iterations` is " + std::to_string(iterations) +
                                  ", expected 1 or more");
    }

    std::optional<gauntlet::Budget> budget() const override {
        return gauntlet::Budget{"l2", epsilon};
    }

    std::vector<std::optional<at::Tensor>> run(const gauntlet::Oracle &oracle,
                                               const gauntlet::Cases &cases) const override {
        std::vector<std::optional<at::Tensor>> answers;
        for (size_t first = 0; first < cases.size(); first += oracle.lanes()) {
            const size_t count = std::min(oracle.lanes(), cases.size() - first);
            const at::Tensor pixels = adversarials(oracle, cases, first, count);
            for (size_t row = 0; row < count; ++row) answers.push_back(pixels[row]);
        }
        return answers;
    }

private:
    // The adversarials of cases first, first + 1, …: M×C×H×W.
    at::Tensor adversarials(const gauntlet::Oracle &oracle, const gauntlet::Cases &cases,
                            size_t first, size_t count) const {
        const at::Tensor images = cases.pixels.narrow(0, first, count);
        const std::vector<GauntletGoal> goals(cases.goals.begin() + first,
                                              cases.goals.begin() + first + count);
        std::vector<size_t> members;
        std::vector<at::Tensor> starts;
        for (size_t n = first; n < first + count; ++n) {
            members.push_back(n);
            starts.push_back(oracle.uniform(n, cases.pixels[n]) - 0.5);
        }
        at::Tensor pixels = project(images, at::stack(starts) * 1e-2);
        for (int64_t n = 0; n < iterations; ++n) {
            auto margin = [&](const at::Tensor &logits) { return gauntlet::margin(logits, goals); };
            const at::Tensor gradient = oracle.gradient(members, pixels, margin).pixels;
            const at::Tensor step =
                gradient / length(gradient).clamp_min(1e-30) * (2.5 * epsilon / iterations);
            pixels = project(images, pixels - step - images);
        }
        return pixels;
    }

    // Euclidean, of each row.
    static at::Tensor length(const at::Tensor &rows) {
        return rows.square().sum(at::IntArrayRef{1, 2, 3}, true).sqrt();
    }

    // Changes cut to the ball, then pixels to the box, which only shortens them.
    at::Tensor project(const at::Tensor &images, const at::Tensor &change) const {
        return (images + change * (epsilon / length(change).clamp_min(epsilon))).clamp(0, 1);
    }

    double epsilon;
    int64_t iterations;
};

GAUNTLET_PLUGIN(pgd_l2, "0.1.0", gauntlet::attack<PgdL2>())
