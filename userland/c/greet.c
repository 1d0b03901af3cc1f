/* Greets each of its arguments from a process of its own, somewhere in the cluster.
 *
 * It shows a whole program in C without a library: the run's argument, spawning with a monitor,
 * messages, the end of a child. craton.h says how to build it.
 */
#include "craton.h"

/* What a child is given: whom to tell, and whom to greet. */
typedef struct {
    craton_pid parent;
    char name[64];
} order;

enum { TAG_GREETING = 1, ARGUMENT_BYTES = 4096, PAYLOAD_BYTES = 4098 };

static void copy(void *to, const void *from, uint32_t len) {
    for (uint32_t at = 0; at < len; at++)
        ((uint8_t *)to)[at] = ((const uint8_t *)from)[at];
}

static uint32_t length(const char *text) {
    uint32_t len = 0;
    while (text[len])
        len++;
    return len;
}

static _Noreturn void fail(const char *why) {
    uint8_t reason[64] = {CRATON_REASON_ERROR};
    uint32_t len = length(why);
    copy(reason + 1, why, len);
    craton_exit(reason, len + 1);
}

CRATON_ENTRY("greeter") void greeter(void) {
    order order;
    if (craton_argument_read(&order, sizeof order) != sizeof order)
        fail("the argument is no order");
    char text[128] = "hello, ";
    uint32_t len = length(text), name = length(order.name);
    copy(text + len, order.name, name);
    craton_send(&order.parent, TAG_GREETING, text, len + name, CRATON_DEFAULT);
}

/* Starts a greeter for the argument at `text`. */
static void start(const uint8_t *text, uint32_t len) {
    order order = {0};
    craton_self_pid(&order.parent);
    if (len >= sizeof order.name)
        fail("a name is too long");
    copy(order.name, text, len);
    craton_pid child;
    uint64_t monitor;
    if (craton_spawn(CRATON_ANYWHERE, 0, 0, "greeter", 7, &order, sizeof order, CRATON_MONITORED, 0,
                     0, &child, &monitor) < 0)
        fail("a greeter cannot start");
}

CRATON_ENTRY("main") void run(void) {
    static uint8_t argument[ARGUMENT_BYTES], payload[PAYLOAD_BYTES + 1];
    craton_run run;
    uint32_t end = craton_argument_read(argument, sizeof argument);
    if (craton_argument_len() > end || end < sizeof run)
        fail("no arguments of a run, or too many");
    copy(&run, argument, sizeof run);
    uint32_t at = sizeof run;
    for (uint32_t number = 0; number < run.arguments; number++) {
        uint32_t len;
        copy(&len, argument + at, 4);
        start(argument + at + 4, len);
        at += 4 + len;
    }
    /* From each child one message, and then the notice of its end. */
    for (uint32_t ended = 0; ended < run.arguments;) {
        craton_received received;
        if (craton_receive(payload, PAYLOAD_BYTES, CRATON_ANY, 0, CRATON_FOREVER, &received) < 0)
            fail("nothing can be received");
        if (received.kind == CRATON_MESSAGE && received.tag == TAG_GREETING) {
            payload[received.len] = '\n';
            craton_send(&run.console, CRATON_TAG_OUT, payload, received.len + 1, INT64_MAX);
        } else if (received.kind == CRATON_DOWN) {
            if (payload[0] != CRATON_REASON_NORMAL)
                fail("a greeter ended too early");
            ended++;
        }
    }
}
