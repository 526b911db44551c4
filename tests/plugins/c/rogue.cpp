// A plugin made from the C header only, for tests of the boundary: an attack that finds nothing and
// breaks the interface in the way that FAULT names.

#include "gauntlet.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <unistd.h>

#ifndef ITEM
#define ITEM "rogue"
#endif
#define NONE 0
#define NO_TABLE 1
#define OTHER_ABI 2
#define SMALL_TABLE 3
#define NOTHING 4
#define UNKNOWN_KIND 5
#define NO_RUN 6
#define BAD_NAME 7
#define NO_TOML 8
#define THROWS 9
#define UNKNOWN_STATUS 10
#define UNKNOWN_ANSWER 11
#define NO_OBJECT 12
#define NO_UNIT 13
#define SILENT 14
#define LEAVES 15
#define EARLIER 16
#define CRASHES 17
#define ABORTS 18
#define HANGS 19
#ifndef FAULT
#define FAULT NONE
#endif

__attribute__((section(".gauntlet"), used)) static const char stamp[] =
    "abi = 1\nwith = \"rogue.cpp\"\ntarget = \"" TARGET "\"\nlibtorch = \"" LIBTORCH "\"\n"
    "name = \"rogue\"\nversion = \"0.1.0\"\ncompiler = \"" __VERSION__ "\"\n"
    "entry = \"gauntlet_plugin_rogue\"\n";

static void put(GauntletSink sink, const std::string &text) {
    sink.put(sink.context, {text.data(), text.size()});
}

static int32_t describe(GauntletSink toml, GauntletSink) {
    if (FAULT == ABORTS) abort();
    for (volatile bool hangs = FAULT == HANGS; hangs;) usleep(1000);
    put(toml, FAULT == NO_TOML    ? "name = rogue"
              : FAULT == BAD_NAME ? "name = \"ro/gue\""
                                  : "name = \"" ITEM "\"\nsummary = \"finds nothing\"");
    return GAUNTLET_OK;
}

static int32_t make(GauntletText, void **object, GauntletSink) {
    static int thing;
    *object = FAULT == NO_OBJECT ? nullptr : &thing;
    return GAUNTLET_OK;
}

static int32_t run(const void *, const GauntletOracle *oracle, const GauntletCases *cases,
                   GauntletAnswer *answers, GauntletSink error) {
    if (FAULT == THROWS) throw std::runtime_error("nobody catches me");
    if (FAULT == UNKNOWN_ANSWER) answers[0].kind = 7;
    if (FAULT == UNKNOWN_STATUS) {
        put(error, "who knows");
        return 42;
    }
    if (FAULT == SILENT) return GAUNTLET_FAILED;
    return oracle->case_count == cases->count ? GAUNTLET_OK : GAUNTLET_FAILED;
}

static void release(void *) {}

// Stands where an earlier version's table has ended, so nobody may call it.
static int32_t beyond(const void *, GauntletGoal, GauntletSink, GauntletSink) { abort(); }

__attribute__((constructor)) static void leave() {
    if (FAULT == LEAVES) _exit(0);
    if (FAULT == CRASHES) *reinterpret_cast<volatile int *>(16) = 1;
}

static const GauntletAttack attack = {
    {FAULT == SMALL_TABLE ? 8 : FAULT == EARLIER ? offsetof(GauntletAttack, cost) : sizeof attack,
     describe, nullptr},
    make, nullptr, FAULT == NO_RUN ? nullptr : run, release, FAULT == EARLIER ? beyond : nullptr};
static const GauntletMetric metric = {
    {sizeof metric, describe, nullptr}, make, nullptr, nullptr, release};
static const GauntletItem item = {
    FAULT == UNKNOWN_KIND ? 9u
    : FAULT == NO_UNIT    ? uint32_t(GAUNTLET_ITEM_METRIC)
                          : uint32_t(GAUNTLET_ITEM_ATTACK),
    0,
    FAULT == NO_UNIT ? (const void *)&metric : (const void *)&attack};
static const GauntletPlugin plugin = {
    sizeof plugin, FAULT == OTHER_ABI ? 7u : uint32_t(GAUNTLET_ABI), 0,
    {stamp, sizeof stamp - 1}, &item, FAULT == NOTHING ? 0u : 1u};

#ifndef NO_ENTRY
extern "C" const GauntletPlugin *gauntlet_plugin_rogue(const GauntletHost *) {
    return FAULT == NO_TABLE ? nullptr : &plugin;
}
#endif
