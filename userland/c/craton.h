/* The guest ABI of Craton for C: the imports of module `craton` (docs/abi.md says what each does).
 *
 * A program needs no library of C:
 *
 *     clang --target=wasm32 -O2 -mbulk-memory -msimd128 -nostdlib -Wl,--no-entry -o greet.wasm greet.c
 *     craton run greet.wasm
 *
 * An entry is a function that CRATON_ENTRY exports; a run begins at "main". A call that returns
 * int32_t answers 0 or more, or a negative code of `enum craton_error`. Times are nanoseconds.
 */
#ifndef CRATON_H
#define CRATON_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define CRATON_ASSERT static_assert
#else
#define CRATON_ASSERT _Static_assert
#endif

#define CRATON_IMPORT(name) __attribute__((import_module("craton"), import_name(#name)))
#define CRATON_ENTRY(name) __attribute__((export_name(name)))

/* A process, anywhere in the cluster: compare it, send it, do not look inside. */
typedef struct {
    uint8_t bytes[24];
} craton_pid;

/* A program: the hash of its signed bundle. */
typedef struct {
    uint8_t bytes[32];
} craton_program;

/* What `receive` says of what it found. */
typedef struct {
    uint32_t kind;
    uint32_t len;
    craton_pid from;
    uint64_t tag; /* of a message or timer; else the id of the monitor or request */
    uint64_t id;  /* of a message that is a request; of a timer */
} craton_received;

CRATON_ASSERT(sizeof(craton_received) == 48, "the ABI says 48 bytes");

enum craton_kind {
    CRATON_MESSAGE = 0,
    CRATON_DOWN = 1,
    CRATON_EXIT = 2,
    CRATON_ANSWER = 3,
    CRATON_TIMER = 4
};
/* What `receive` takes: whatever is next; a message with the tag, a notice, or an item of any
 * channel; one notice by id; whatever is next and the messages behind it, each at the next multiple
 * of 8 bytes with its header before it, whose number is the answer. So look at the tag of what a
 * tagged receive gives. */
enum craton_select { CRATON_ANY = 0, CRATON_TAGGED = 1, CRATON_BY_ID = 2, CRATON_SEVERAL = 3 };
enum craton_level { CRATON_ERROR = 0, CRATON_WARN = 1, CRATON_INFO = 2, CRATON_DEBUG = 3 };
enum craton_place {
    CRATON_HERE = 0,
    CRATON_ANYWHERE = 1,
    CRATON_NODE = 2,
    CRATON_NEAR = 3,
    CRATON_SOCKET = 4
};
enum craton_spawn_flags { CRATON_MONITORED = 1, CRATON_LINKED = 2 };

/* What a child may have; 0 is as usual, and so is a spawn with 0, 0 for it. */
typedef struct {
    uint64_t memory_bytes;
    uint32_t mailbox_messages;
    uint32_t mailbox_bytes;
    /* For calls; what C keeps in memory is in a stack of the linker's. */
    uint32_t stack_bytes;
    /* 1 to 1,000 where 100 is usual: its part of the CPU beside others that compute. */
    uint32_t cpu_share;
} craton_limits;

CRATON_ASSERT(sizeof(craton_limits) == 24, "the ABI says 24 bytes");

enum craton_error {
    CRATON_NO_PROCESS = -1,
    CRATON_NO_CONNECTION = -2,
    CRATON_FULL = -3,
    CRATON_TIMED_OUT = -4,
    CRATON_TOO_LONG = -5,
    CRATON_INVALID = -6,
    CRATON_LIMIT_MEMORY = -7,
    CRATON_LIMIT_PROCESSES = -8,
    CRATON_LIMIT_MONITORS = -9,
    CRATON_NO_PROGRAM = -10,
    CRATON_NO_ENTRY = -11,
    CRATON_DENIED = -12,
    CRATON_LIMIT_PROGRAMS = -13,
    CRATON_LIMIT_REQUESTS = -14,
    CRATON_LIMIT_LINKS = -15,
    CRATON_LIMIT_TIMERS = -16,
    CRATON_NO_SOCKET = -17,
    CRATON_REFUSED = -18,
    CRATON_RESET = -19,
    CRATON_UNREACHABLE = -20,
    CRATON_IN_USE = -21,
    CRATON_NO_NAME = -22,
    CRATON_LIMIT_SOCKETS = -23,
    CRATON_LIMIT_NAMES = -24,
    CRATON_TAKEN = -25
};

/* The first byte of an exit reason, which a notice has as its payload. */
enum craton_reason {
    CRATON_REASON_NORMAL = 0,
    CRATON_REASON_SHUTDOWN = 1,
    CRATON_REASON_KILLED = 2,
    CRATON_REASON_TRAP = 3,
    CRATON_REASON_LIMIT = 4,
    CRATON_REASON_ERROR = 5,
    CRATON_REASON_NO_PROCESS = 6,
    CRATON_REASON_NO_CONNECTION = 7
};

/* Time-outs with a meaning of their own. */
#define CRATON_FOREVER ((int64_t)-1) /* of craton_receive and of sockets */
#define CRATON_DEFAULT ((int64_t)-1) /* of craton_send: 5 s */

CRATON_IMPORT(self_pid) void craton_self_pid(craton_pid *out);
CRATON_IMPORT(argument_len) uint32_t craton_argument_len(void);
CRATON_IMPORT(argument_read) uint32_t craton_argument_read(void *to, uint32_t len);
CRATON_IMPORT(clock_monotonic) uint64_t craton_clock_monotonic(void);
CRATON_IMPORT(clock_wall) uint64_t craton_clock_wall(void);
CRATON_IMPORT(random) void craton_random(void *to, uint32_t len);
CRATON_IMPORT(log) void craton_log(int32_t level, const char *text, uint32_t len);
CRATON_IMPORT(yield_now) void craton_yield_now(void);
CRATON_IMPORT(exit) __attribute__((noreturn)) void craton_exit(const void *reason, uint32_t len);
CRATON_IMPORT(spawn)
int32_t craton_spawn(int32_t place_kind, const void *place, const craton_program *program,
                     const char *entry, uint32_t entry_len, const void *argument,
                     uint32_t argument_len, int32_t flags, const craton_limits *limits,
                     uint32_t limits_len, craton_pid *out_pid, uint64_t *out_monitor);
CRATON_IMPORT(send)
int32_t craton_send(const craton_pid *to, uint64_t tag, const void *message, uint32_t len,
                    int64_t timeout);
CRATON_IMPORT(receive)
int32_t craton_receive(void *to, uint32_t capacity, int32_t select, uint64_t tag, int64_t timeout,
                       craton_received *out);
CRATON_IMPORT(request)
int64_t craton_request(const craton_pid *to, uint64_t tag, const void *message, uint32_t len,
                       int64_t timeout);
CRATON_IMPORT(answer)
int32_t craton_answer(const craton_pid *to, uint64_t id, const void *answer, uint32_t len);
CRATON_IMPORT(set_timer) int64_t craton_set_timer(int64_t after, uint64_t tag);
CRATON_IMPORT(cancel_timer) int32_t craton_cancel_timer(uint64_t id);
CRATON_IMPORT(monitor) int64_t craton_monitor(const craton_pid *target);
CRATON_IMPORT(demonitor) int32_t craton_demonitor(uint64_t id);
CRATON_IMPORT(link) int32_t craton_link(const craton_pid *target);
CRATON_IMPORT(unlink) int32_t craton_unlink(const craton_pid *target);
CRATON_IMPORT(trap_exits) int32_t craton_trap_exits(int32_t trap);
CRATON_IMPORT(kill) int32_t craton_kill(const craton_pid *target);
CRATON_IMPORT(nodes) int32_t craton_nodes(uint64_t *to, uint32_t capacity);
CRATON_IMPORT(shards) int32_t craton_shards(uint64_t node);
CRATON_IMPORT(name_register) int32_t craton_name_register(const char *name, uint32_t len);
CRATON_IMPORT(name_unregister) int32_t craton_name_unregister(const char *name, uint32_t len);
CRATON_IMPORT(name_find)
int32_t craton_name_find(const char *name, uint32_t len, craton_pid *out);
CRATON_IMPORT(group_join) int32_t craton_group_join(const char *name, uint32_t len);
CRATON_IMPORT(group_leave) int32_t craton_group_leave(const char *name, uint32_t len);
CRATON_IMPORT(group_members)
int32_t craton_group_members(const char *name, uint32_t len, craton_pid *to, uint32_t capacity);

/* An end of a connection or datagram. */
typedef struct {
    uint16_t kind; /* 4 or 6 */
    uint16_t port;
    uint8_t bytes[16]; /* of an IPv4 address the first 4 */
} craton_address;

CRATON_ASSERT(sizeof(craton_address) == 20, "the ABI says 20 bytes");

enum craton_socket_flags { CRATON_BULK = 1 };

CRATON_IMPORT(tcp_listen) int32_t craton_tcp_listen(int32_t port, int32_t flags);
CRATON_IMPORT(tcp_accept)
int32_t craton_tcp_accept(int32_t socket, int64_t timeout, craton_address *from);
CRATON_IMPORT(tcp_connect)
int32_t craton_tcp_connect(const craton_address *to, int32_t flags, int64_t timeout);
CRATON_IMPORT(socket_read)
int32_t craton_socket_read(int32_t socket, void *to, uint32_t capacity, int64_t timeout);
CRATON_IMPORT(socket_write)
int32_t craton_socket_write(int32_t socket, const void *bytes, uint32_t len, int64_t timeout);
CRATON_IMPORT(socket_finish) int32_t craton_socket_finish(int32_t socket);
CRATON_IMPORT(socket_close) int32_t craton_socket_close(int32_t socket);
CRATON_IMPORT(socket_give) int32_t craton_socket_give(int32_t socket, const craton_pid *to);
CRATON_IMPORT(socket_take) int32_t craton_socket_take(int64_t timeout, craton_address *from);
CRATON_IMPORT(socket_watch) int64_t craton_socket_watch(int32_t socket, int64_t after, uint64_t tag);
CRATON_IMPORT(udp_bind) int32_t craton_udp_bind(int32_t port);
CRATON_IMPORT(udp_send)
int32_t craton_udp_send(int32_t socket, const craton_address *to, const void *bytes, uint32_t len);
CRATON_IMPORT(udp_receive)
int32_t craton_udp_receive(int32_t socket, void *to, uint32_t capacity, int64_t timeout,
                           craton_address *from);
CRATON_IMPORT(resolve)
int32_t craton_resolve(const char *name, uint32_t name_len, craton_address *to, uint32_t capacity,
                       int64_t timeout);

/* A run: the argument of "main" begins so; then come as many arguments, each after its length. */
typedef struct {
    craton_pid console;
    craton_pid stdin_;
    uint32_t arguments;
} craton_run;

CRATON_ASSERT(sizeof(craton_run) == 52, "the ABI says 52 bytes");

/* Tags to a run's console, and those of its standard input. */
#define CRATON_TAG_OUT ((UINT64_C(1) << 63) + 1)
#define CRATON_TAG_ERR ((UINT64_C(1) << 63) + 2)
#define CRATON_TAG_READ ((UINT64_C(1) << 63) + 3)
#define CRATON_TAG_INPUT ((UINT64_C(1) << 63) + 4)

#ifdef __cplusplus
}
#endif

#endif
