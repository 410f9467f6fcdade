/* epoll sets with netmap descriptors in them: when the kernel asks the port, level and edge, one shot, changes,
 * copies of descriptors. */
#include "scenario.h"

#include <sys/eventfd.h>

static int new_set(void)
{
	int set = epoll_create1(EPOLL_CLOEXEC);
	NEED(set >= 0);
	return set;
}

static int control(int set, int operation, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = 0x1234567890abcdefull };
	return ERROR_OF(epoll_ctl(set, operation, fd, &event));
}

/* number:events of a wait that does not block. */
static const char *now(int set)
{
	static char texts[8][64];
	static unsigned turn;
	char *text = texts[turn++ % 8];
	struct epoll_event got = { 0 };
	int n = epoll_wait(set, &got, 1, 0);
	snprintf(text, 64, "%d:%s", n, n > 0 ? event_names((int)got.events) : "");
	return text;
}

/* Two of them, one after the other. */
static const char *now_twice(int set)
{
	static char text[160];
	const char *first = now(set);
	snprintf(text, sizeof text, "%s %s", first, now(set));
	return text;
}

/* number:events of a wait that blocks. */
static const char *blocks(int set)
{
	static char text[64];
	struct epoll_event got = { 0 };
	int n = epoll_wait(set, &got, 1, LONG_MS);
	snprintf(text, sizeof text, "%d:%s", n, n > 0 ? event_names((int)got.events) : "");
	return text;
}

static unsigned arrived(struct port *port)
{
	rxsync(port);
	return available(rxring(port, 0));
}

/* Adding and changing ask the port, which sends what is pending. */
static void control_sends(void)
{
	MUST_OPEN(a, "valee:a");
	MUST_OPEN(b, "valee:b");
	int set = new_set();
	put(&a, 1);
	fact_error("add", control(set, EPOLL_CTL_ADD, a.fd, EPOLLIN));
	fact("add.arrived", "%u", arrived(&b));
	put(&a, 2);
	fact_error("mod", control(set, EPOLL_CTL_MOD, a.fd, EPOLLIN | EPOLLOUT));
	fact("mod.arrived", "%u", arrived(&b));
	put(&a, 3);
	fact_error("del", control(set, EPOLL_CTL_DEL, a.fd, 0));
	fact("del.arrived", "%u", arrived(&b));
	txsync(&a);
	fact_error("add_twice", (control(set, EPOLL_CTL_ADD, a.fd, EPOLLIN), control(set, EPOLL_CTL_ADD, a.fd, EPOLLIN)));
	fact_error("del_missing", control(set, EPOLL_CTL_DEL, b.fd, 0));
	fact_error("mod_missing", control(set, EPOLL_CTL_MOD, b.fd, EPOLLIN));
	fact_error("add_itself", control(set, EPOLL_CTL_ADD, set, EPOLLIN));
	/* a wait asks only ports that are thought to be ready */
	drain(&b);
	put(&a, 4);
	fact("wait", "%s", now(set));
	fact("wait.arrived", "%u", arrived(&b));
	txsync(&a);
	drain(&b);
	control(set, EPOLL_CTL_MOD, a.fd, EPOLLIN | EPOLLOUT);
	put(&a, 5);
	fact("wait_ready", "%s", now(set));
	fact("wait_ready.arrived", "%u", arrived(&b));
}

static void levels(void)
{
	MUST_OPEN(a, "valee:a");
	MUST_OPEN(b, "valee:b");
	int set = new_set();
	control(set, EPOLL_CTL_ADD, b.fd, EPOLLIN);
	fact("empty", "%s", now(set));
	put(&a, 1);
	txsync(&a);
	fact("one", "%s", now_twice(set));
	struct epoll_event got = { 0 };
	epoll_wait(set, &got, 1, 0);
	fact("data", "%d", got.data.u64 == 0x1234567890abcdefull);
	rxring(&b, 0)->cur = rxring(&b, 0)->tail;
	fact("seen", "%s", now(set));
	drain(&b);
	fact("drained", "%s", now(set));
	put(&a, 2);
	txsync(&a);
	fact("again", "%s", now(set));
}

static void edges(void)
{
	MUST_OPEN(a, "valee:a");
	MUST_OPEN(b, "valee:b");
	int set = new_set();
	put(&a, 1);
	txsync(&a);
	control(set, EPOLL_CTL_ADD, b.fd, EPOLLIN | EPOLLET);
	fact("added_ready", "%s", now_twice(set));
	put(&a, 2);
	txsync(&a);
	fact("another", "%s", now_twice(set));
	control(set, EPOLL_CTL_MOD, b.fd, EPOLLIN | EPOLLET);
	fact("modified", "%s", now_twice(set));
	drain(&b);
	fact("drained", "%s", now(set));
	put(&a, 3);
	txsync(&a);
	drain(&b);
	fact("came_and_went", "%s", now(set));
	control(set, EPOLL_CTL_MOD, b.fd, EPOLLIN | EPOLLOUT | EPOLLET);
	fact("out", "%s", now_twice(set));
	put(&a, 4);
	txsync(&a);
	fact("in_with_out", "%s", now_twice(set));
}

static void one_shot(void)
{
	MUST_OPEN(a, "valee:a");
	MUST_OPEN(b, "valee:b");
	int set = new_set();
	control(set, EPOLL_CTL_ADD, b.fd, EPOLLIN | EPOLLONESHOT);
	put(&a, 1);
	txsync(&a);
	fact("first", "%s", now_twice(set));
	put(&a, 2);
	txsync(&a);
	fact("disabled", "%s", now(set));
	control(set, EPOLL_CTL_MOD, b.fd, EPOLLIN | EPOLLONESHOT);
	fact("armed_again", "%s", now_twice(set));
}

/* Two descriptors of one open file are two entries; closing one leaves the other. */
static void copies(void)
{
	MUST_OPEN(a, "valee:a");
	MUST_OPEN(b, "valee:b");
	int set = new_set(), copy = dup(b.fd);
	struct epoll_event got[4];
	control(set, EPOLL_CTL_ADD, b.fd, EPOLLIN);
	fact_error("add_copy", control(set, EPOLL_CTL_ADD, copy, EPOLLIN));
	put(&a, 1);
	txsync(&a);
	fact("both", "%d", epoll_wait(set, got, 4, 0));
	close(copy);
	fact("closed_copy_stays", "%d", epoll_wait(set, got, 4, 0));
	fact_error("del_closed", control(set, EPOLL_CTL_DEL, copy, 0));
	control(set, EPOLL_CTL_DEL, b.fd, 0);
	fact("first_deleted", "%d", epoll_wait(set, got, 4, 0));
	close(b.fd);
	fact("all_closed", "%d", epoll_wait(set, got, 4, 0));
	b.fd = -1;
}

/* Unbound when it was added, bound later. */
static void bound_later(void)
{
	int set = new_set(), fd = open_device();
	control(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT);
	fact("unbound", "%s", now(set));
	struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC };
	fact_error("bind", request_on(fd, NETMAP_REQ_REGISTER, "valee:l", &reg));
	fact("bound", "%s", now(set));
	fact("bound_again", "%s", now(set));
}

/* Sets in sets, sets that are polled, and sets with other descriptors beside. */
static void nested(void)
{
	MUST_OPEN(a, "valee:a");
	MUST_OPEN(b, "valee:b");
	int inner = new_set(), outer = new_set(), other = eventfd(0, 0);
	struct epoll_event got[4];
	control(inner, EPOLL_CTL_ADD, b.fd, EPOLLIN);
	control(inner, EPOLL_CTL_ADD, other, EPOLLIN);
	fact_error("add_set", control(outer, EPOLL_CTL_ADD, inner, EPOLLIN));
	fact("empty", "%s %s", now(outer), poll_result(inner, POLLIN, 0));
	put(&a, 1);
	txsync(&a);
	fact("outer", "%s", now(outer));
	fact("polled", "%s", poll_result(inner, POLLIN, 0));
	fact("selected", "%s", select_result(inner, 1, 0, 0));
	uint64_t one = 1;
	NEED(write(other, &one, sizeof one) == sizeof one);
	fact("inner", "%d", epoll_wait(inner, got, 4, 0));
	drain(&b);
	fact("inner_drained", "%d", epoll_wait(inner, got, 4, 0));
}

/* Waits that block: woken by a packet, by room, by another descriptor; ended by time and by wrong arguments. */
static void blocking(void)
{
	MUST_OPEN(a, "ep{1");
	MUST_OPEN(b, "ep}1");
	int set = new_set(), status;
	struct epoll_event got;
	control(set, EPOLL_CTL_ADD, b.fd, EPOLLIN);
	pid_t child = fork();
	if (child == 0) {
		usleep(50000);
		put(&a, 1);
		_exit(txsync(&a));
	}
	fact("packet", "%s", blocks(set));
	waitpid(child, &status, 0);
	while (available(txring(&a, 0)))
		put(&a, 2);
	txsync(&a);
	int out = new_set();
	control(out, EPOLL_CTL_ADD, a.fd, EPOLLOUT);
	fact("full", "%s", now(out));
	child = fork();
	if (child == 0) {
		usleep(50000);
		drain(&b);
		_exit(0);
	}
	fact("room", "%s", blocks(out));
	waitpid(child, &status, 0);
	fact("timeout", "%d", epoll_wait(set, &got, 1, 20));
	fact_error("no_room", ERROR_OF(epoll_wait(set, &got, 0, 0)));
	fact_error("no_set", ERROR_OF(epoll_wait(a.fd, &got, 1, 0)));
	fact_error("ctl_no_set", control(a.fd, EPOLL_CTL_ADD, b.fd, EPOLLIN));
}

SCENARIO("switch", "epoll sets: when ports are asked, level, edge, one shot, copies, nested",
	{ "control_sends", control_sends }, { "levels", levels }, { "edges", edges }, { "one_shot", one_shot },
	{ "copies", copies }, { "bound_later", bound_later }, { "nested", nested }, { "blocking", blocking })
