// PSNR, the peak signal-to-noise ratio: 10·log₁₀(peak²/MSE), with a peak of 1.

#include "gauntlet.hpp"

class Psnr : public gauntlet::Metric {
public:
    static constexpr const char *name = "psnr_cpp";
    static constexpr const char *summary =
        "peak signal-to-noise ratio, the higher the less visible";
    static std::vector<gauntlet::Parameter> parameters() {
        return {
            {"ceiling", 100.0,
             "The value of images that are equal, where the formula has no number, in decibels."}};
    }
    static gauntlet::Measure measure() { return {"dB", false, std::nullopt, true}; }

    explicit Psnr(const gauntlet::Parameters &given) : ceiling(given.real("ceiling")) {}

    std::vector<double> outcome(const at::Tensor &original,
                                const at::Tensor &adversarial) const override {
        const at::Tensor mse = (adversarial - original).to(at::kDouble).flatten(1).square().mean(1);
        const at::Tensor psnr = (mse.log10() * -10).clamp_max(ceiling).cpu().contiguous();
        return std::vector<double>(psnr.data_ptr<double>(), psnr.data_ptr<double>() + psnr.numel());
    }

private:
    double ceiling;
};

GAUNTLET_PLUGIN(psnr_cpp, "0.1.0", gauntlet::metric<Psnr>())
