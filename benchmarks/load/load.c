/* A load generator for HTTP/1.1: keep-alive connections, a fixed rate (open loop) or as fast as answers come.
 *
 *   load --port 8000 --path /v1/score --body rows.json [--body more.json] --connections 64 --seconds 10 [--rate 500]
 *        [--host 127.0.0.1] [--type application/json] [--header "Authorization: Bearer KEY"] [--timeout-ms 5000]
 *
 * One thread and one epoll, so that it can be pinned to the core that the server does not use. Requests take the
 * bodies and the connections in turn. At a fixed rate a request that finds no free connection waits, and is counted as late. Prints one
 * JSON object: what was answered by status with latencies (milliseconds from sending to the whole answer), what failed,
 * each second of the run, and every distinct answer of each body up to its "request_id".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_BODIES = 64, MAX_HEADERS = 8, MAX_CONNECTIONS = 4096, MAX_STATUSES = 16, MAX_ANSWERS = 256, MAX_SECONDS = 7200 };
enum state { UNCONNECTED, CONNECTING, IDLE, SENDING, READING };

struct body { char *request; size_t length; };
struct connection {
    int socket, body;
    enum state state;
    size_t sent, filled, capacity;
    double began, retry_at;
    char *buffer;
};
struct status { int code; size_t count, capacity; float *latencies; };
struct answer { int body, status; size_t count; char *text; };
struct second { int ok, refused, failed; };

static const char *host = "127.0.0.1", *path = "/", *type = "application/json", *headers[MAX_HEADERS];
static int port, header_count, body_count, connection_count = 1, timeout_ms = 5000, poller;
static double seconds = 10, rate, began_all;
static struct body bodies[MAX_BODIES];
static struct connection connections[MAX_CONNECTIONS];
static struct status statuses[MAX_STATUSES];
static struct answer answers[MAX_ANSWERS];
static struct second timeline[MAX_SECONDS];
static int status_count, answer_count, next_body, next_connection;
static size_t sent, late, connects_failed, resets, timeouts, malformed, answers_left_out;

static void fail(const char *what) { fprintf(stderr, "load: %s\n", what); exit(2); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void *grown(void *memory, size_t bytes) {
    void *larger = realloc(memory, bytes);
    if (!larger) fail("out of memory");
    return larger;
}

static struct second *this_second(void) {
    int second = (int)(now() - began_all);
    return &timeline[second < 0 ? 0 : second >= MAX_SECONDS ? MAX_SECONDS - 1 : second];
}

static void add_body(const char *file) {
    FILE *in = fopen(file, "rb");
    if (!in || body_count == MAX_BODIES) fail("a body cannot be read, or there are too many");
    fseek(in, 0, SEEK_END);
    size_t length = (size_t)ftell(in);
    rewind(in);
    char *content = grown(NULL, length + 1);
    if (fread(content, 1, length, in) != length) fail("a body cannot be read");
    fclose(in);
    bodies[body_count++] = (struct body){content, length};
}

static void make_requests(void) {
    char extra[4096] = "";
    for (int i = 0; i < header_count; i++) {
        if (strlen(extra) + strlen(headers[i]) + 3 > sizeof extra) fail("the headers are too long");
        strcat(strcat(extra, headers[i]), "\r\n");
    }
    for (int i = 0; i < body_count; i++) {
        struct body content = bodies[i];
        char *request = grown(NULL, content.length + 8192);
        int head = snprintf(request, 8192, "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n",
                            path, host, port, type, content.length, extra);
        if (head < 0 || head >= 8192) fail("the request's head is too long");
        memcpy(request + head, content.request, content.length);
        bodies[i] = (struct body){request, (size_t)head + content.length};
        free(content.request);
    }
}

static void watch(struct connection *c, unsigned events, bool is_known) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poller, is_known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->socket, &event);
}

static void drop(struct connection *c, double pause) {
    close(c->socket);
    c->state = UNCONNECTED;
    c->retry_at = now() + pause;
}

static void lose(struct connection *c, size_t *reason) {
    if (c->state == CONNECTING) connects_failed++;
    else if (c->state != IDLE) { /* an idle connection may be closed at any time: nothing is lost */
        ++*reason;
        this_second()->failed++;
    }
    drop(c, c->state == CONNECTING ? 0.01 : 0);
}

static void open_connection(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->socket < 0) fail("no socket is left");
    int yes = 1;
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    c->state = CONNECTING;
    c->began = now();
    if (connect(c->socket, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        lose(c, &connects_failed);
        return;
    }
    watch(c, EPOLLOUT, false);
}

static void send_rest(struct connection *c) {
    struct body *b = &bodies[c->body];
    while (c->sent < b->length) {
        ssize_t n = send(c->socket, b->request + c->sent, b->length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) { watch(c, EPOLLOUT | EPOLLIN, true); return; }
        if (n < 0) { lose(c, &resets); return; }
        c->sent += (size_t)n;
    }
    c->state = READING;
    watch(c, EPOLLIN, true);
}

static void send_next(struct connection *c) {
    c->body = next_body;
    next_body = (next_body + 1) % body_count;
    c->sent = c->filled = 0;
    c->began = now();
    c->state = SENDING;
    sent++;
    send_rest(c);
}

static void note_latency(int code, double ms) {
    int i = 0;
    while (i < status_count && statuses[i].code != code) i++;
    if (i == MAX_STATUSES) return;
    if (i == status_count) statuses[status_count++].code = code;
    struct status *s = &statuses[i];
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 4096;
        s->latencies = grown(s->latencies, s->capacity * sizeof *s->latencies);
    }
    s->latencies[s->count++] = (float)ms;
}

static void note_answer(struct connection *c, int code, char *text, size_t length) {
    char *end = memmem(text, length, "\"request_id\"", 12);
    if (end) length = (size_t)(end - text);
    for (int i = 0; i < answer_count; i++)
        if (answers[i].body == c->body && answers[i].status == code && strlen(answers[i].text) == length &&
            !memcmp(answers[i].text, text, length)) { answers[i].count++; return; }
    if (answer_count == MAX_ANSWERS) { answers_left_out++; return; }
    char *copy = grown(NULL, length + 1);
    memcpy(copy, text, length);
    copy[length] = 0;
    answers[answer_count++] = (struct answer){c->body, code, 1, copy};
}

/* The value of a header within a head that ends with a zero byte, or NULL. */
static const char *header_value(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = head; (line = strstr(line, "\r\n")); ) {
        line += 2;
        if (!strncasecmp(line, name, length) && line[length] == ':') return line + length + 1 + (line[length + 1] == ' ');
    }
    return NULL;
}

/* 1: a whole answer was taken, 0: more is to come, -1: it is none that this program can read. */
static int take_answer(struct connection *c) {
    c->buffer[c->filled] = 0;
    char *end = strstr(c->buffer, "\r\n\r\n");
    if (!end) return 0;
    *end = 0; /* the head alone, for header_value; put back below where the answer is not whole */
    const char *length = header_value(c->buffer, "content-length"), *close_it = header_value(c->buffer, "connection");
    size_t body = length ? strtoul(length, NULL, 10) : 0, head = (size_t)(end - c->buffer) + 4;
    bool closes = close_it && !strncasecmp(close_it, "close", 5);
    int code = atoi(c->buffer + 9);
    *end = '\r';
    if (!length || code < 100) return -1;
    if (c->filled < head + body) return 0;
    note_latency(code, (now() - c->began) * 1000);
    note_answer(c, code, c->buffer + head, body);
    if (code < 300) this_second()->ok++;
    else this_second()->refused++;
    c->state = IDLE;
    if (closes) drop(c, 0);
    return 1;
}

static void receive(struct connection *c) {
    for (;;) {
        if (c->capacity - c->filled < 65536) c->buffer = grown(c->buffer, (c->capacity = 2 * c->capacity + 131072));
        ssize_t n = recv(c->socket, c->buffer + c->filled, c->capacity - c->filled - 1, 0);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n <= 0) { lose(c, &resets); return; }
        c->filled += (size_t)n;
        int taken = take_answer(c);
        if (taken < 0) { lose(c, &malformed); return; }
        if (taken) return;
    }
}

static void handle(struct connection *c, unsigned events) {
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->socket, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) { lose(c, &connects_failed); return; }
        c->state = IDLE;
        watch(c, EPOLLIN, true);
    } else if (c->state == IDLE) lose(c, &resets);
    else {
        if (c->state == SENDING && (events & EPOLLOUT)) send_rest(c);
        if ((c->state == READING || c->state == SENDING) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) receive(c);
    }
}

static void look_after(double time) {
    for (int i = 0; i < connection_count; i++) {
        struct connection *c = &connections[i];
        if (c->state == UNCONNECTED && time >= c->retry_at) open_connection(c);
        else if (c->state > IDLE && time - c->began > timeout_ms / 1000.0) lose(c, &timeouts);
    }
}

static void run(void) {
    struct epoll_event events[256];
    double looked = 0, due = began_all;
    while (true) {
        double time = now();
        bool is_over = time - began_all >= seconds, busy = false;
        if (time - looked > 0.002) { look_after(time); looked = time; }
        for (int i = 0, first = next_connection; i < connection_count; i++) {
            int turn = (first + i) % connection_count;
            struct connection *c = &connections[turn];
            if (c->state == IDLE && !is_over && (rate == 0 || due <= time)) {
                if (rate > 0) {
                    if (time - due > 0.01) late++;
                    due += 1 / rate;
                }
                next_connection = (turn + 1) % connection_count;
                send_next(c);
            }
            busy |= c->state > IDLE;
        }
        if (is_over && !busy) return;
        int ready = epoll_wait(poller, events, 256, 1);
        for (int i = 0; i < ready; i++) handle(events[i].data.ptr, events[i].events);
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20) printf("\\u%04x", *text);
        else putchar(*text);
    }
    putchar('"');
}

static void report(double took) {
    printf("{\"seconds\": %.3f, \"sent\": %zu, \"late\": %zu, \"answered\": {", took, sent, late);
    for (int i = 0; i < status_count; i++) {
        struct status *s = &statuses[i];
        qsort(s->latencies, s->count, sizeof *s->latencies, by_size);
        printf("%s\"%d\": {\"count\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}", i ? ", " : "", s->code,
               s->count, s->latencies[s->count / 2], s->latencies[s->count * 99 / 100], s->latencies[s->count - 1]);
    }
    printf("}, \"failed\": {\"connect\": %zu, \"reset\": %zu, \"timeout\": %zu, \"malformed\": %zu}, \"timeline\": [",
           connects_failed, resets, timeouts, malformed);
    for (int i = 0; i < (int)took + 1 && i < MAX_SECONDS; i++)
        printf("%s[%d, %d, %d]", i ? ", " : "", timeline[i].ok, timeline[i].refused, timeline[i].failed);
    printf("], \"answers_left_out\": %zu, \"answers\": [", answers_left_out);
    for (int i = 0; i < answer_count; i++) {
        printf("%s{\"body\": %d, \"status\": %d, \"count\": %zu, \"text\": ", i ? ", " : "", answers[i].body,
               answers[i].status, answers[i].count);
        print_text(answers[i].text);
        putchar('}');
    }
    printf("]}\n");
}

static void read_option(const char *name, const char *value) {
    if (!strcmp(name, "--host")) host = value;
    else if (!strcmp(name, "--port")) port = atoi(value);
    else if (!strcmp(name, "--path")) path = value;
    else if (!strcmp(name, "--type")) type = value;
    else if (!strcmp(name, "--body")) add_body(value);
    else if (!strcmp(name, "--connections")) connection_count = atoi(value);
    else if (!strcmp(name, "--seconds")) seconds = atof(value);
    else if (!strcmp(name, "--rate")) rate = atof(value);
    else if (!strcmp(name, "--timeout-ms")) timeout_ms = atoi(value);
    else if (!strcmp(name, "--header") && header_count < MAX_HEADERS) headers[header_count++] = value;
    else fail("an option is not known, or there are too many headers");
}

int main(int count, char **arguments) {
    if (count % 2 == 0) fail("every option takes a value");
    for (int i = 1; i < count; i += 2) read_option(arguments[i], arguments[i + 1]);
    if (!port || !body_count || connection_count < 1 || connection_count > MAX_CONNECTIONS) fail("give --port, --body, and 1 to 4096 --connections");
    make_requests();
    poller = epoll_create1(0);
    began_all = now();
    run();
    report(now() - began_all);
    return 0;
}
