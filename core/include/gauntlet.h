// Generated from core/src/library/abi.rs. Do not edit.
//
// The boundary between a program and a plugin library: a C interface.
//
// Rules that hold everywhere:
//
// - Arguments (texts, arrays, tables, tensor handles) are borrowed until the function returns.
// - The receiver owns what a function gives out, and gives it back through its `release`: each
//   module frees what it has allocated. Texts go out through a `GauntletSink`, which copies them.
// - A function that can fail returns a status (`GAUNTLET_OK`, …) and puts the reason into `error`. Where
//   the status is not `GAUNTLET_OK`, it has given nothing else out.
// - No panic and no exception leaves a function. The side that raises one catches it and returns
//   `GAUNTLET_PANICKED`. This holds for the plugin's functions and for those that the program lends it.
// - Parameters and cards are TOML text. Readers ignore keys that they do not know. A text among the
//   parameters that the program gives stands in one line, in `"`, with JSON's escapes.
// - Tables begin with their own `size` in bytes, as their maker compiled them. Later versions
//   append fields. A field beyond `size` is absent. A change that cannot be appended raises
//   `GAUNTLET_ABI`.
// - A library is never unloaded. A plugin's tables, names and embedded bytes stay where they are
//   for the life of the process.
//
// The stamp says in plain text what a library is, so that a program knows it before any of the
// library's code runs. It is TOML that ends with a zero byte, in the section `.gauntlet` of the
// ELF file. Its keys:
//
// - `abi`: the value of `GAUNTLET_ABI` when the library was compiled. Only this key never changes its
//   meaning.
// - `target`: the target triple, such as `x86_64-unknown-linux-gnu`. It must be the program's.
// - `libtorch`: the version of libtorch, such as `2.11.0`. It must be the program's.
// - `name`, `version`: those of the plugin. A program loads one plugin of each name.
// - `entry`: the name of the exported function of the type `GauntletEntry`. It begins with
//   `gauntlet_plugin_`.
// - `panic`: `abort` where a panic or an exception ends the process, otherwise `unwind` or absent.
// - `with`, `compiler`: what the library was built with, for people.


#pragma once

#include <stddef.h>
#include <stdint.h>

// Number of this interface. A program loads only plugins that were built for its own number.
#define GAUNTLET_ABI 1

// Status: the function has done its work.
#define GAUNTLET_OK 0

// Status: the function has failed. `error` holds the reason.
#define GAUNTLET_FAILED 1

// Status: the function has caught a panic or an exception. The object is released and not used
// again. `error` may begin with the place, `at FILE:LINE: `.
#define GAUNTLET_PANICKED 2

// Status: the work was cancelled and shall be given up. A plugin that gets it returns it.
#define GAUNTLET_CANCELLED 3

// Status: the work is out of time and shall be given up. A plugin that gets it returns it.
#define GAUNTLET_OUT_OF_TIME 4

// `GauntletItem::kind`: an attack, whose table is `GauntletAttack`.
#define GAUNTLET_ITEM_ATTACK 1

// `GauntletItem::kind`: a model, whose table is `GauntletModel`.
#define GAUNTLET_ITEM_MODEL 2

// `GauntletItem::kind`: a metric, whose table is `GauntletMetric`.
#define GAUNTLET_ITEM_METRIC 3

// `GauntletGoal::kind`, untargeted: any class but this one.
#define GAUNTLET_GOAL_AWAY 0

// `GauntletGoal::kind`, targeted: this class.
#define GAUNTLET_GOAL_TOWARDS 1

// `GauntletAnswer::kind`: the search ended without an adversarial. The program sets all answers to this
// before it calls the attack.
#define GAUNTLET_ANSWER_NOT_FOUND 0

// `GauntletAnswer::kind`: pixels that the attack gives as its result.
#define GAUNTLET_ANSWER_PIXELS 1

// Role: kernel of a convolution, H×W×in×out, or of a dense layer, in×out.
#define GAUNTLET_ROLE_KERNEL 0

// Role: depthwise kernel, H×W×in×multiplier.
#define GAUNTLET_ROLE_DEPTHWISE 1

// Role: bias.
#define GAUNTLET_ROLE_BIAS 2

// Role: scale of a batch norm.
#define GAUNTLET_ROLE_GAMMA 3

// Role: shift of a batch norm.
#define GAUNTLET_ROLE_BETA 4

// Role: moving mean of a batch norm.
#define GAUNTLET_ROLE_MEAN 5

// Role: moving variance of a batch norm.
#define GAUNTLET_ROLE_VARIANCE 6

// Dialect: TensorFlow's conventions, as in the reference checkpoints.
#define GAUNTLET_DIALECT_TENSORFLOW 0

// Dialect: PyTorch's conventions, as in timm and torchvision.
#define GAUNTLET_DIALECT_PYTORCH 1

// Borrowed UTF-8 text without a terminating zero. `data` may be null where `length` is 0.
typedef struct GauntletText {
    // The first byte.
    const char *data;
    // Number of bytes.
    size_t length;
} GauntletText;

// An attack, a model or a metric.
typedef struct GauntletItem {
    // `GAUNTLET_ITEM_ATTACK`, `GAUNTLET_ITEM_MODEL` or `GAUNTLET_ITEM_METRIC`.
    uint32_t kind;
    // Always 0.
    uint32_t reserved;
    // The table of that kind.
    const void *table;
} GauntletItem;

// Everything that a plugin brings.
typedef struct GauntletPlugin {
    // Size of this table in bytes.
    size_t size;
    // The plugin's `GAUNTLET_ABI`.
    uint32_t abi;
    // Always 0.
    uint32_t reserved;
    // The stamp, as in the file.
    struct GauntletText stamp;
    // Its attacks, models and metrics.
    const struct GauntletItem *items;
    // Number of items.
    size_t count;
} GauntletPlugin;

// What a plugin is told of the program when it is loaded. It stays for the life of the process.
typedef struct GauntletHost {
    // Size of this table in bytes.
    size_t size;
    // The program's `GAUNTLET_ABI`.
    uint32_t abi;
    // Always 0.
    uint32_t reserved;
    // Name and version of the library that implements the interface, such as
    // `gauntlet-core 0.1.0`.
    struct GauntletText version;
} GauntletHost;

// The function that the stamp's `entry` names. A program looks up no other symbol. Returns null
// when the plugin does not want to be loaded.
typedef const struct GauntletPlugin *(*GauntletEntry)(const struct GauntletHost *host);

// A receiver of texts. It copies what is put into it.
typedef struct GauntletSink {
    // First argument of `put`.
    void *context;
    // Appends `text`. It may be called more than once.
    void (*put)(void *context, struct GauntletText text);
} GauntletSink;

// The beginning of the table of an attack, a model or a metric. It never grows.
typedef struct GauntletHead {
    // Size of the whole table in bytes.
    size_t size;
    // Gives a description in TOML:
    //
    // - `name`: the name in studies. Letters, digits, `_`, `-` and `.`.
    // - `summary`: one line for `runner list`.
    // - `[parameters]`: all parameters with their defaults, without those that have no value by
    //   default.
    // - `[[presets]]`: further named sets, each with `name`, `summary` and `[presets.parameters]`.
    // - `[[descriptions]]`: the meaning of parameters, each with `name`, `text` and, where the
    //   values have names, `choices`.
    //
    // The description of a metric also has:
    //
    // - `scope`: `outcome` or `model`.
    // - `unit`: the unit of the values.
    // - `direction`: `higher_is_more_robust` or `lower_is_more_robust`.
    // - `at_identity`: the value of an image and itself, if it is the same for all images.
    // - `symmetric`: true where exchanging original and adversarial leaves the value the same.
    // - `extras`: an array with names of further numbers that come with every value.
    int32_t (*describe)(struct GauntletSink toml, struct GauntletSink error);
    // Gives all parameters as TOML: those of a preset (empty: the defaults), replaced by
    // `overrides` (TOML). Checks them. May be null. The program then replaces the parameters that
    // `describe` shows; each key must be among them, and each value must have the same type.
    int32_t (*resolve)(struct GauntletText preset,
                       struct GauntletText overrides,
                       struct GauntletSink toml,
                       struct GauntletSink error);
} GauntletHead;

// A borrowed tensor: an `at::Tensor *`. The borrower neither writes to it nor deletes it. To keep
// the tensor, copy the `at::Tensor`, which shares the data.
typedef const void *GauntletTensorRef;

// A tensor that is handed over. The receiver copies the `at::Tensor`, then calls `release`.
typedef struct GauntletTensor {
    // An `at::Tensor *`.
    void *handle;
    // Deletes `handle`.
    void (*release)(void *handle);
} GauntletTensor;

// A loss: a function of logits that gives one value per row.
typedef struct GauntletLoss {
    // First argument of `call`.
    void *context;
    // Gives the M losses of M×K logits, as a function that libtorch can differentiate. It is
    // called once, before `gradient` returns.
    int32_t (*call)(void *context,
                    GauntletTensorRef logits,
                    struct GauntletTensor *loss,
                    struct GauntletSink error);
} GauntletLoss;

// What `GauntletOracle::gradient` gives.
typedef struct GauntletGradient {
    // Logits, M×K.
    struct GauntletTensor logits;
    // Losses, M.
    struct GauntletTensor loss;
    // Gradient of each row's loss with respect to its pixels, M×C×H×W.
    struct GauntletTensor pixels;
} GauntletGradient;

// Number of passes through the network that one case has cost.
typedef struct GauntletPasses {
    // Forward passes.
    uint64_t forward;
    // Backward passes, to the input.
    uint64_t backward;
} GauntletPasses;

// All that an attack or a metric gets to see of a model. In every call `cases` says for each of
// the `count` rows of the batch which case it belongs to. Passes are counted per case.
typedef struct GauntletOracle {
    // Size of this table in bytes.
    size_t size;
    // First argument of the functions.
    void *context;
    // The model's card (TOML).
    struct GauntletText card;
    // Greatest number of rows that a batch shall have.
    size_t lanes;
    // Number of cases.
    size_t case_count;
    // The key of all random streams, 32 bytes. They are ChaCha8 with a 64-bit counter and a 64-bit
    // stream number, as in Bernstein's variant. Plugins without ChaCha8 call `random`.
    const uint8_t *key;
    // The ChaCha8 stream number of each case.
    const uint64_t *streams;
    // Gives the M×K logits of M×C×H×W pixels. It costs a forward pass per row.
    int32_t (*logits)(void *context,
                      const size_t *cases,
                      size_t count,
                      GauntletTensorRef pixels,
                      struct GauntletTensor *logits,
                      struct GauntletSink error);
    // Gives logits (M×K), losses (M) and the gradient of each row's loss with respect to its
    // pixels (M×C×H×W). It costs a forward and a backward pass per row.
    int32_t (*gradient)(void *context,
                        const size_t *cases,
                        size_t count,
                        GauntletTensorRef pixels,
                        struct GauntletLoss loss,
                        struct GauntletGradient *gradient,
                        struct GauntletSink error);
    // Writes `count` bytes of a case's random stream, from byte `offset` on.
    int32_t (*random)(void *context,
                      size_t case_index,
                      uint64_t offset,
                      uint8_t *bytes,
                      size_t count,
                      struct GauntletSink error);
    // Writes the passes so far. `passes` has room for `case_count` elements.
    int32_t (*passes)(void *context, struct GauntletPasses *passes, struct GauntletSink error);
    // Returns `GAUNTLET_OK` while there is time. Long work that does not call the model calls this
    // instead.
    int32_t (*check_time)(void *context, struct GauntletSink error);
} GauntletOracle;

// What an attack shall achieve.
typedef struct GauntletGoal {
    // The class to leave or to reach, as an index into the logits.
    int64_t class_index;
    // `GAUNTLET_GOAL_AWAY` or `GAUNTLET_GOAL_TOWARDS`.
    uint32_t kind;
    // Always 0.
    uint32_t reserved;
} GauntletGoal;

// N images with a goal each.
typedef struct GauntletCases {
    // Size of this table in bytes.
    size_t size;
    // N×C×H×W float32 in [0, 1].
    GauntletTensorRef pixels;
    // N goals.
    const struct GauntletGoal *goals;
    // N.
    size_t count;
} GauntletCases;

// An attack's answer for one case.
typedef struct GauntletAnswer {
    // `GAUNTLET_ANSWER_NOT_FOUND` or `GAUNTLET_ANSWER_PIXELS`.
    uint32_t kind;
    // Always 0.
    uint32_t reserved;
    // C×H×W float32 in [0, 1], where `kind` is `GAUNTLET_ANSWER_PIXELS`.
    struct GauntletTensor pixels;
} GauntletAnswer;

// An attack. Several threads may use one of its objects at a time.
typedef struct GauntletAttack {
    // Size, description and parameters.
    struct GauntletHead head;
    // Makes an object from all parameters (TOML). Refuses values out of range.
    int32_t (*make)(struct GauntletText parameters, void **object, struct GauntletSink error);
    // Gives the greatest distance between an answer and its image, in TOML: `norm` (`linf`, `l1`
    // or `l2`, of the whole image) and `radius` (pixels in [0, 1]). Gives nothing where the
    // parameters do not limit the distance. May be null.
    int32_t (*budget)(const void *object, struct GauntletSink toml, struct GauntletSink error);
    // Attacks every case. `answers` has an element for each, set to `GAUNTLET_ANSWER_NOT_FOUND`. An
    // answer depends neither on the number of cases nor on other cases. The oracle may be called
    // until this function returns, from this thread alone.
    int32_t (*run)(const void *object,
                   const struct GauntletOracle *oracle,
                   const struct GauntletCases *cases,
                   struct GauntletAnswer *answers,
                   struct GauntletSink error);
    // Frees an object.
    void (*release)(void *object);
    // Gives the passes that a case with this goal is expected to take, in TOML: `forward` and
    // `backward`. Gives nothing where they are not known. May be null or absent.
    int32_t (*cost)(const void *object,
                    struct GauntletGoal goal,
                    struct GauntletSink toml,
                    struct GauntletSink error);
} GauntletAttack;

// Bytes that stay for the life of the process.
typedef struct GauntletBytes {
    // The first byte. May be null where `length` is 0.
    const uint8_t *data;
    // Number of bytes.
    size_t length;
} GauntletBytes;

// Named tensors, for a model that is being loaded.
typedef struct GauntletWeights {
    // Size of this table in bytes.
    size_t size;
    // First argument of the functions.
    void *context;
    // Device of the model: `cpu` or `cuda:N`. Tensors that `tensor` gives are on it already.
    struct GauntletText device;
    // 1 where batch norm shall use the statistics of the batch, as in training; otherwise 0.
    uint32_t training;
    // Whose conventions the tensors follow: `GAUNTLET_DIALECT_TENSORFLOW` or `GAUNTLET_DIALECT_PYTORCH`.
    uint32_t dialect;
    // Gives the float32 tensor of that name and shape. `role` (`GAUNTLET_ROLE_KERNEL`, …) says what it is
    // for. For a tensor that is missing or has another shape it gives zeros, and the program
    // reports the tensor.
    int32_t (*tensor)(void *context,
                      struct GauntletText name,
                      const int64_t *shape,
                      size_t dimensions,
                      uint32_t role,
                      struct GauntletTensor *tensor,
                      struct GauntletSink error);
    // Lets the file have tensors whose names begin with `start` and that nobody asks for.
    int32_t (*spare)(void *context, struct GauntletText start, struct GauntletSink error);
} GauntletWeights;

// A kind of model. One thread uses an object at a time, but not always the same thread.
typedef struct GauntletModel {
    // Size, description and parameters.
    struct GauntletHead head;
    // Gives the card (TOML) of the model that these parameters would give: `name`, `family`, `side`
    // (or `height` and `width`), `classes`; optionally `channels`, `label_offset`, `source`, `top1`.
    int32_t (*card)(struct GauntletText parameters,
                    struct GauntletSink toml,
                    struct GauntletSink error);
    // Gives the bytes of the weights that are part of the plugin, a safetensors file. They stay
    // for the life of the process. Where there are none, `length` is 0 or this is null.
    struct GauntletBytes (*weights)(void);
    // Makes an object from all parameters and weights. Asks `weights` for every tensor that it
    // needs, in any order. The program reports what is missing, misshapen or never asked for. No
    // weight may require a gradient.
    int32_t (*load)(struct GauntletText parameters,
                    const struct GauntletWeights *weights,
                    void **object,
                    struct GauntletSink error);
    // Gives the logits of a batch. `pixels` are N×C×H×W float32 in [0, 1] with C, H and W those
    // of the card, on the device of the weights. The logits are N×`classes` and differentiable with
    // respect to `pixels` where gradients are on. Row n depends on image n alone.
    int32_t (*logits)(const void *object,
                      GauntletTensorRef pixels,
                      struct GauntletTensor *logits,
                      struct GauntletSink error);
    // Frees an object.
    void (*release)(void *object);
} GauntletModel;

// A metric. Several threads may use one of its objects at a time.
typedef struct GauntletMetric {
    // Size, description and parameters.
    struct GauntletHead head;
    // Makes an object from all parameters (TOML). Refuses values out of range.
    int32_t (*make)(struct GauntletText parameters, void **object, struct GauntletSink error);
    // For the scope `outcome`: writes one value per row of two N×C×H×W float32 batches in [0, 1],
    // each followed by its `extras`. `values` has room for `count` numbers: N times (1 + the
    // number of extras). May be null where the scope is `model`.
    int32_t (*outcome)(const void *object,
                       GauntletTensorRef original,
                       GauntletTensorRef adversarial,
                       double *values,
                       size_t count,
                       struct GauntletSink error);
    // For the scope `model`: writes one value per case, each followed by its `extras`, `count`
    // numbers in all. The model classifies every case correctly. A case's goal says which change
    // of the class is measured. The oracle may be called until this function returns, from this
    // thread alone. May be null where the scope is `outcome`.
    int32_t (*model)(const void *object,
                     const struct GauntletOracle *oracle,
                     const struct GauntletCases *cases,
                     double *values,
                     size_t count,
                     struct GauntletSink error);
    // Frees an object.
    void (*release)(void *object);
    // For the scope `model`: the same as `GauntletAttack`'s, for a model with so many classes.
    int32_t (*cost)(const void *object,
                    struct GauntletGoal goal,
                    int64_t classes,
                    struct GauntletSink toml,
                    struct GauntletSink error);
} GauntletMetric;
