// Made from core/src/plugin/abi.rs; not to be edited.
//
// The boundary between a program and a plugin library: C, field by field.
//
// Rules that hold everywhere:
//
// - What comes in (texts, arrays, tables, tensor handles) is borrowed until the function returns.
// - What goes out is owned by the receiver, who gives it back through its `release`: what a module
//   allocated, that module frees. Texts go out through a `GauntletSink`, which copies.
// - A function that can fail returns a status (`GAUNTLET_OK`, …) and puts the reason into `error`. Where
//   the status is not `GAUNTLET_OK`, nothing else was given out.
// - No panic and no exception leaves a function: whoever raises one catches it and returns
//   `GAUNTLET_PANICKED`. This goes for the plugin's functions and for the functions that it is given.
// - Parameters and cards are TOML text. Keys that the reader does not know are left alone.
// - Tables begin with their own `size` in bytes, as their maker compiled them. Later versions
//   append fields; what lies beyond `size` is absent. Whatever cannot be appended raises `GAUNTLET_ABI`.
// - Tables, names and embedded bytes of a plugin stay where they are for the life of the process:
//   a library is never unloaded.
//
// The stamp. A library says in plain text what it is, so that a program knows before any of its
// code runs: in a link section `.gauntlet` of the ELF file, TOML that ends with a zero byte. Keys:
//
// - `abi`: `GAUNTLET_ABI` as the library was compiled. The only key whose meaning never changes.
// - `target`: the target triple, such as `x86_64-unknown-linux-gnu`. `libtorch`: its version, such
//   as `2.11.0`. Both must be the program's own.
// - `name`, `version`: of the plugin. The name is taken once among all that are loaded.
// - `entry`: the name of the exported function of the type `GauntletEntry`; begins with
//   `gauntlet_plugin_`.
// - `with`, `compiler` (for people) and `panic`: `abort` where a panic or an exception ends the
//   process, otherwise `unwind`, which may be left out.


#pragma once

#include <stddef.h>
#include <stdint.h>

// Number of this interface. A program loads the plugins that were built for its own number.
#define GAUNTLET_ABI 1

// The function has done its work.
#define GAUNTLET_OK 0

// It has not, for a reason that it knows.
#define GAUNTLET_FAILED 1

// A panic or an exception was caught. The object is not used again, but released.
#define GAUNTLET_PANICKED 2

// The work is to be given up: somebody cancelled it. Hand this on.
#define GAUNTLET_CANCELLED 3

// The work is to be given up: its time is over. Hand this on.
#define GAUNTLET_OUT_OF_TIME 4

// `GauntletItem::table` is an `GauntletAttack`.
#define GAUNTLET_ITEM_ATTACK 1

// `GauntletItem::table` is a `GauntletModel`.
#define GAUNTLET_ITEM_MODEL 2

// `GauntletItem::table` is a `GauntletMetric`.
#define GAUNTLET_ITEM_METRIC 3

// `GauntletGoal::kind`: any class but this one.
#define GAUNTLET_GOAL_AWAY 0

// `GauntletGoal::kind`: this class.
#define GAUNTLET_GOAL_TOWARDS 1

// `GauntletAnswer::kind`: the search ended without an adversarial. The array that the program hands out
// is full of these.
#define GAUNTLET_ANSWER_NOT_FOUND 0

// `GauntletAnswer::kind`: pixels that the attack stands by.
#define GAUNTLET_ANSWER_PIXELS 1

// Kernel of a convolution or a dense layer: H×W×in×out or in×out in the names of TensorFlow.
#define GAUNTLET_ROLE_KERNEL 0

// Depthwise kernel, H×W×in×multiplier.
#define GAUNTLET_ROLE_DEPTHWISE 1

// Bias.
#define GAUNTLET_ROLE_BIAS 2

// Scale of a batch norm.
#define GAUNTLET_ROLE_GAMMA 3

// Shift of a batch norm.
#define GAUNTLET_ROLE_BETA 4

// Moving mean of a batch norm.
#define GAUNTLET_ROLE_MEAN 5

// Moving variance of a batch norm.
#define GAUNTLET_ROLE_VARIANCE 6

// TensorFlow's, as in the reference checkpoints.
#define GAUNTLET_DIALECT_TENSORFLOW 0

// PyTorch's, as timm and torchvision have them.
#define GAUNTLET_DIALECT_PYTORCH 1

// UTF-8 text, borrowed. Not terminated; `data` may be null where `length` is 0.
typedef struct GauntletText {
    // The first byte.
    const char *data;
    // Number of bytes.
    size_t length;
} GauntletText;

// Something that a study can name.
typedef struct GauntletItem {
    // `GAUNTLET_ITEM_ATTACK`, `GAUNTLET_ITEM_MODEL` or `GAUNTLET_ITEM_METRIC`.
    uint32_t kind;
    // Zero.
    uint32_t reserved;
    // The table of that kind.
    const void *table;
} GauntletItem;

// All that a plugin brings.
typedef struct GauntletPlugin {
    // Size of this table in bytes.
    size_t size;
    // The plugin's `GAUNTLET_ABI`.
    uint32_t abi;
    // Zero.
    uint32_t reserved;
    // The stamp, as in the file.
    struct GauntletText stamp;
    // What it brings.
    const struct GauntletItem *items;
    // Number of items.
    size_t count;
} GauntletPlugin;

// The program, as a plugin sees it when it is loaded. Stays for the life of the process.
typedef struct GauntletHost {
    // Size of this table in bytes.
    size_t size;
    // The program's `GAUNTLET_ABI`.
    uint32_t abi;
    // Zero.
    uint32_t reserved;
    // Name and version of the library that the program is made of, such as `gauntlet-core 0.1.0`.
    struct GauntletText version;
} GauntletHost;

// The function that the stamp's `entry` names: the only symbol of a plugin that is looked up.
// Returns null when the plugin does not want to be loaded.
typedef const struct GauntletPlugin *(*GauntletEntry)(const struct GauntletHost *host);

// Where a text goes out: whoever made it copies what is put.
typedef struct GauntletSink {
    // Given back to `put`.
    void *context;
    // Appends `text`; may be called more than once.
    void (*put)(void *context, struct GauntletText text);
} GauntletSink;

// How the table of an attack, a model or a metric begins. This part never grows.
typedef struct GauntletHead {
    // Size of the whole table in bytes.
    size_t size;
    // Tells about itself in TOML:
    //
    // - `name`: as studies name it; letters, digits, `_`, `-` and `.`.
    // - `summary`: one line for `runner list`.
    // - `[parameters]`: all parameters with their defaults. What has no value by default is not
    //   shown.
    // - `[[presets]]`: further named sets, each with `name`, `summary` and `[presets.parameters]`.
    // - `[[descriptions]]`: what parameters mean, each with `name`, `text` and, for a choice among
    //   names, `choices`.
    // - of metrics also `scope` (`outcome` or `model`), `unit`, `direction`
    //   (`higher_is_more_robust` or `lower_is_more_robust`), and where they hold `at_identity`
    //   (the value of every image beside itself), `symmetric` (original and adversarial can change
    //   places) and `extras` (an array: names of further numbers that come with every value).
    int32_t (*describe)(struct GauntletSink toml, struct GauntletSink error);
    // Lays `overrides` (TOML) over a preset (empty: the defaults), checks them, and gives all
    // parameters as TOML. May be null: then the program lays them over what `describe` shows; each
    // key must be among those, each value of the same type.
    int32_t (*resolve)(struct GauntletText preset,
                       struct GauntletText overrides,
                       struct GauntletSink toml,
                       struct GauntletSink error);
} GauntletHead;

// A tensor that is borrowed: an `at::Tensor *` that is neither written to nor deleted. Copy the
// `at::Tensor` to keep the tensor (this shares the data).
typedef const void *GauntletTensorRef;

// A tensor that is handed over: the receiver copies the `at::Tensor`, then calls `release`.
typedef struct GauntletTensor {
    // An `at::Tensor *`.
    void *handle;
    // Deletes `handle`.
    void (*release)(void *handle);
} GauntletTensor;

// A loss: logits to one value per row.
typedef struct GauntletLoss {
    // Given back to `call`.
    void *context;
    // M×K logits with a graph behind them, to M losses. Called once, before `gradient` returns.
    int32_t (*call)(void *context,
                    GauntletTensorRef logits,
                    struct GauntletTensor *loss,
                    struct GauntletSink error);
} GauntletLoss;

// What `GauntletOracle::gradient` gives.
typedef struct GauntletGradient {
    // M×K.
    struct GauntletTensor logits;
    // M.
    struct GauntletTensor loss;
    // M×3×S×S.
    struct GauntletTensor pixels;
} GauntletGradient;

// Passes through the network that one case has cost.
typedef struct GauntletPasses {
    // Forward passes.
    uint64_t forward;
    // Backward passes, to the input.
    uint64_t backward;
} GauntletPasses;

// All that an attack or a metric gets to see of a model. In every call `cases` says, for each of
// `count` rows of the batch, which case it belongs to: passes are counted per case.
typedef struct GauntletOracle {
    // Size of this table in bytes.
    size_t size;
    // Given back to the functions.
    void *context;
    // The model's card (TOML).
    struct GauntletText card;
    // How many rows a batch shall have at the most.
    size_t lanes;
    // Number of cases.
    size_t case_count;
    // The ChaCha8 key (64-bit counter and stream number, as in Bernstein's variant) of all random
    // streams, 32 bytes. For those who have ChaCha8 of their own; the others call `random`.
    const uint8_t *key;
    // The ChaCha8 stream number of each case.
    const uint64_t *streams;
    // Logits: pixels M×3×S×S to M×K. One forward pass per row.
    int32_t (*logits)(void *context,
                      const size_t *cases,
                      size_t count,
                      GauntletTensorRef pixels,
                      struct GauntletTensor *logits,
                      struct GauntletSink error);
    // Logits (M×K), losses (M) and the gradient of each row's loss with respect to its pixels
    // (M×3×S×S). One forward and one backward pass per row.
    int32_t (*gradient)(void *context,
                        const size_t *cases,
                        size_t count,
                        GauntletTensorRef pixels,
                        struct GauntletLoss loss,
                        struct GauntletGradient *gradient,
                        struct GauntletSink error);
    // Bytes `offset`, `offset + 1`, … of a case's random stream, `count` of them.
    int32_t (*random)(void *context,
                      size_t case_index,
                      uint64_t offset,
                      uint8_t *bytes,
                      size_t count,
                      struct GauntletSink error);
    // The passes so far; `passes` has room for `case_count`.
    int32_t (*passes)(void *context, struct GauntletPasses *passes, struct GauntletSink error);
    // `GAUNTLET_OK` while there is time: for long work that does not ask the model.
    int32_t (*check_time)(void *context, struct GauntletSink error);
} GauntletOracle;

// What an attack shall bring about.
typedef struct GauntletGoal {
    // The class that the goal speaks of, as an index into the logits.
    int64_t class_index;
    // `GAUNTLET_GOAL_AWAY` or `GAUNTLET_GOAL_TOWARDS`.
    uint32_t kind;
    // Zero.
    uint32_t reserved;
} GauntletGoal;

// Images with a goal each.
typedef struct GauntletCases {
    // Size of this table in bytes.
    size_t size;
    // N×3×S×S float32 in [0, 1].
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
    // Zero.
    uint32_t reserved;
    // 3×S×S float32 in [0, 1], where `kind` is `GAUNTLET_ANSWER_PIXELS`.
    struct GauntletTensor pixels;
} GauntletAnswer;

// An attack. Its objects may be used by several threads at a time.
typedef struct GauntletAttack {
    // Size, name, parameters.
    struct GauntletHead head;
    // Makes an object from full parameters (TOML). Refuses values out of range.
    int32_t (*make)(struct GauntletText parameters, void **object, struct GauntletSink error);
    // How far from its image an answer lies at the most, in TOML: `norm` (`linf`, `l1` or `l2`, of
    // the whole image) and `radius`; nothing where the parameters do not limit that. May be null.
    int32_t (*budget)(const void *object, struct GauntletSink toml, struct GauntletSink error);
    // Attacks every case. `answers` has an element for each, set to `GAUNTLET_ANSWER_NOT_FOUND`.
    // An answer may depend neither on how many cases there are nor on which. The oracle
    // may be asked until this returns, from this thread alone.
    int32_t (*run)(const void *object,
                   const struct GauntletOracle *oracle,
                   const struct GauntletCases *cases,
                   struct GauntletAnswer *answers,
                   struct GauntletSink error);
    // Frees an object.
    void (*release)(void *object);
} GauntletAttack;

// Bytes that stay for the life of the process.
typedef struct GauntletBytes {
    // The first byte; may be null where `length` is 0.
    const uint8_t *data;
    // Number of bytes.
    size_t length;
} GauntletBytes;

// Named tensors, for a model that is being loaded.
typedef struct GauntletWeights {
    // Size of this table in bytes.
    size_t size;
    // Given back to the functions.
    void *context;
    // Where the model shall live: `cpu` or `cuda:N`. Tensors that `tensor` gives are there
    // already.
    struct GauntletText device;
    // Whether batch norm shall use the statistics of the batch, as in training: 0 or 1.
    uint32_t training;
    // Whose names and conventions the tensors have: `GAUNTLET_DIALECT_TENSORFLOW` or `GAUNTLET_DIALECT_PYTORCH`.
    uint32_t dialect;
    // The float32 tensor of that name and shape. `role` (`GAUNTLET_ROLE_KERNEL`, …) says what it is for.
    // Of a tensor that is missing or has another shape the program takes note, and zeros stand in
    // for it.
    int32_t (*tensor)(void *context,
                      struct GauntletText name,
                      const int64_t *shape,
                      size_t dimensions,
                      uint32_t role,
                      struct GauntletTensor *tensor,
                      struct GauntletSink error);
    // Lets the file have tensors that nobody asks for, whose names begin with `start`.
    int32_t (*spare)(void *context, struct GauntletText start, struct GauntletSink error);
} GauntletWeights;

// A kind of model. An object is used by one thread at a time, not always the same.
typedef struct GauntletModel {
    // Size, name, parameters.
    struct GauntletHead head;
    // The card (TOML) of the model that full parameters would give: `name`, `family`, `side`,
    // `classes` and, where they are known, `label_offset`, `top1`, `top5`, `source`.
    int32_t (*card)(struct GauntletText parameters,
                    struct GauntletSink toml,
                    struct GauntletSink error);
    // The bytes of the weights' file that is part of the plugin (safetensors), for the life of the
    // process; zero `length` when there is none. May be null: there is none.
    struct GauntletBytes (*weights)(void);
    // Makes an object from full parameters and weights. Asks `weights` for every tensor that it
    // needs, in whatever order; what is missing, misshapen or never asked for is reported by the
    // program. No weight may require a gradient.
    int32_t (*load)(struct GauntletText parameters,
                    const struct GauntletWeights *weights,
                    void **object,
                    struct GauntletSink error);
    // Logits of a batch. `pixels`: N×3×S×S float32 in [0, 1], S the card's `side`, on the device
    // that the weights were on. The answer is N×`classes` and differentiable with respect to
    // `pixels` where gradients are on. Row n depends on image n alone.
    int32_t (*logits)(const void *object,
                      GauntletTensorRef pixels,
                      struct GauntletTensor *logits,
                      struct GauntletSink error);
    // Frees an object.
    void (*release)(void *object);
} GauntletModel;

// A metric. Its objects may be used by several threads at a time.
typedef struct GauntletMetric {
    // Size, name, parameters.
    struct GauntletHead head;
    // Makes an object from full parameters (TOML). Refuses values out of range.
    int32_t (*make)(struct GauntletText parameters, void **object, struct GauntletSink error);
    // Scope `outcome`: writes one value per row of two N×3×S×S float32 batches in [0, 1], each
    // followed by its `extras`. `values` has room for `count` numbers, N times one and the extras.
    // May be null where the scope is `model`.
    int32_t (*outcome)(const void *object,
                       GauntletTensorRef original,
                       GauntletTensorRef adversarial,
                       double *values,
                       size_t count,
                       struct GauntletSink error);
    // Scope `model`: writes one value per case, each followed by its `extras`, `count` numbers in
    // all. The model classifies every case correctly; the goal says from where, or to where, it is
    // robust. The oracle may be asked until this returns, from this thread alone. May be null
    // where the scope is `outcome`.
    int32_t (*model)(const void *object,
                     const struct GauntletOracle *oracle,
                     const struct GauntletCases *cases,
                     double *values,
                     size_t count,
                     struct GauntletSink error);
    // Frees an object.
    void (*release)(void *object);
} GauntletMetric;
