// An attack that throws what its parameter `what` chooses. No exception may leave the library.

#include "gauntlet.hpp"

#include <stdexcept>

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

GAUNTLET_PLUGIN(thrower, "0.1.0", gauntlet::attack<Thrower>())
