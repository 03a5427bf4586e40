/* Plug-ins for test_audio_ladspa.py, with the structures of the LADSPA 1.1 interface in words of our own. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int flags; float low, high; } Hint;
typedef struct Descriptor {
    unsigned long id; const char *label; int properties; const char *name, *maker, *copyright;
    unsigned long count; const int *kinds; const char *const *names; const Hint *hints; void *data;
    void *(*instantiate)(const struct Descriptor *, unsigned long);
    void (*connect_port)(void *, unsigned long, float *);
    void (*activate)(void *);
    void (*run)(void *, unsigned long);
    void (*run_adding)(void *, unsigned long);
    void (*set_run_adding_gain)(void *, float);
    void (*deactivate)(void *);
    void (*cleanup)(void *);
} Descriptor;

enum { CONTROL_IN = 5, CONTROL_OUT = 6, AUDIO_IN = 9, AUDIO_OUT = 10 };
enum { BELOW = 1, ABOVE = 2, TOGGLED = 4, RATE = 8, LOG = 16, WHOLE = 32, MIN = 0x40, LOW = 0x80, MIDDLE = 0xC0,
       HIGH = 0x100, MAX = 0x140, ONE = 0x240, A440 = 0x2C0 };
#define PORTS 8
#define SIZE 8192
typedef struct { float *port[PORTS]; float line[SIZE]; unsigned long at, rate; } State;

static void *start(const Descriptor *d, unsigned long rate) {
    (void)d;
    State *s = malloc(sizeof(State));
    memset(s->line, 0x7f, sizeof s->line); /* rubbish, until activate */
    s->rate = rate;
    return s;
}
static void *refuse(const Descriptor *d, unsigned long rate) { (void)d; (void)rate; return NULL; }
static void connect_port(void *h, unsigned long i, float *p) { ((State *)h)->port[i] = p; }
static void clear(void *h) { State *s = h; memset(s->line, 0, sizeof s->line); s->at = 0; }

/* A gain, then a folder: what passes 1 comes back. */
static void fold(void *h, unsigned long n) {
    State *s = h;
    for (unsigned long i = 0; i < n; i++) {
        float y = *s->port[0] * s->port[2][i];
        s->port[3][i] = *s->port[1] > 0.5f ? 1 - 4 * fabsf((y - 1) / 4 - roundf((y - 1) / 4)) : y;
    }
}
/* A delay of whole samples, that it tells if it is asked to. */
static void delay(void *h, unsigned long n) {
    State *s = h;
    unsigned long length = (unsigned long)*s->port[0];
    for (unsigned long i = 0; i < n; i++, s->at++) {
        s->line[s->at % SIZE] = s->port[3][i];
        s->port[4][i] = s->line[(s->at + SIZE - length) % SIZE];
    }
    *s->port[2] = *s->port[1] > 0.5f ? (float)length : 0;
}
/* A crusher; its offset has no bounds. Four unused controls show each kind of default. */
static void crush(void *h, unsigned long n) {
    State *s = h;
    float steps = powf(2, *s->port[0] - 1);
    for (unsigned long i = 0; i < n; i++) s->port[7][i] = roundf(s->port[6][i] * steps) / steps + *s->port[1];
}
/* Two channels, swapped. */
static void swap(void *h, unsigned long n) {
    State *s = h;
    memcpy(s->port[2], s->port[1], n * sizeof(float));
    memcpy(s->port[3], s->port[0], n * sizeof(float));
}

/* Where its memory is. */
static void place(void *h, unsigned long n) {
    State *s = h;
    for (unsigned long i = 0; i < n; i++) s->port[1][i] = (float)((uintptr_t)(s->port[0]) % 64);
}

#define PLUGIN(ID, LABEL, COUNT, START, ACTIVATE, RUN)                                                     \
    {ID, #LABEL, 0, #LABEL, "hardgrad", "", COUNT, LABEL##_kinds, LABEL##_names, LABEL##_hints, NULL, START, \
     connect_port, ACTIVATE, RUN, NULL, NULL, NULL, free}

static const int fold_kinds[] = {CONTROL_IN, CONTROL_IN, AUDIO_IN, AUDIO_OUT};
static const char *const fold_names[] = {"Gain", "Fold", "In", "Out"};
static const Hint fold_hints[] = {{BELOW | ABOVE | LOG | MIDDLE, 0.25f, 4}, {TOGGLED | ONE, 0, 0}, {0, 0, 0}, {0, 0, 0}};
static const int delay_kinds[] = {CONTROL_IN, CONTROL_IN, CONTROL_OUT, AUDIO_IN, AUDIO_OUT};
static const char *const delay_names[] = {"Length (samples)", "Tell", "latency", "In", "Out"};
static const Hint delay_hints[] = {
    {BELOW | ABOVE | WHOLE | RATE | MIN, 0, 0.125f}, {TOGGLED, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}};
static const int crush_kinds[] = {CONTROL_IN, CONTROL_IN, CONTROL_IN, CONTROL_IN, CONTROL_IN, CONTROL_IN, AUDIO_IN, AUDIO_OUT};
static const char *const crush_names[] = {"Bits", "Offset", "Low", "High", "Most", "Pitch (Hz)", "In", "Out"};
static const Hint crush_hints[] = {
    {BELOW | ABOVE | WHOLE | MAX, 1, 9}, {0, 0, 0}, {BELOW | ABOVE | LOG | LOW, 1, 16}, {BELOW | ABOVE | HIGH, 0, 8},
    {BELOW | ABOVE | LOG | MAX, 0, 8}, {BELOW | ABOVE | A440, 20, 400}, {0, 0, 0}, {0, 0, 0}};
static const int swap_kinds[] = {AUDIO_IN, AUDIO_IN, AUDIO_OUT, AUDIO_OUT};
static const char *const swap_names[] = {"In left", "In right", "Out left", "Out right"};
static const Hint swap_hints[] = {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}};
static const int place_kinds[] = {AUDIO_IN, AUDIO_OUT};
static const char *const place_names[] = {"In", "Out"};
static const Hint place_hints[] = {{0, 0, 0}, {0, 0, 0}};
static const int never_kinds[] = {AUDIO_IN, AUDIO_OUT};
static const char *const never_names[] = {"In", "Out"};
static const Hint never_hints[] = {{0, 0, 0}, {0, 0, 0}};
static const int mute_kinds[] = {CONTROL_IN, AUDIO_OUT};
static const char *const mute_names[] = {"Level", "Out"};
static const Hint mute_hints[] = {{0, 0, 0}, {0, 0, 0}};

static const Descriptor all[] = {
    PLUGIN(1, fold, 4, start, NULL, fold),   PLUGIN(2, delay, 5, start, clear, delay),
    PLUGIN(3, crush, 8, start, NULL, crush), PLUGIN(4, swap, 4, start, NULL, swap),
    PLUGIN(5, never, 2, refuse, NULL, swap), PLUGIN(6, mute, 2, start, NULL, swap),
    PLUGIN(7, place, 2, start, NULL, place)};

const Descriptor *ladspa_descriptor(unsigned long i) { return i < sizeof all / sizeof *all ? &all[i] : NULL; }
