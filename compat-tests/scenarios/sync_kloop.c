/* The sync loop: what START and STOP refuse, and packets through it: asleep, woken by eventfds, direct. */
#include "scenario.h"

#include <pthread.h>
#include <sys/eventfd.h>

#define RINGS 2 /* one tx, one rx: the order of CSB entries and eventfds */

static struct nm_csb_atok atok[RINGS] __attribute__((aligned(64)));
static struct nm_csb_ktoa ktoa[RINGS] __attribute__((aligned(64)));
static struct nmreq_opt_csb csb;

struct eventfds_option {
	struct nmreq_option head;
	struct { int32_t ioeventfd, irqfd; } eventfds[RINGS];
};

static struct nmreq_opt_csb *csb_option(void)
{
	memset(&csb, 0, sizeof csb);
	csb.nro_opt.nro_reqtype = NETMAP_REQ_OPT_CSB;
	csb.csb_atok = (uintptr_t)atok;
	csb.csb_ktoa = (uintptr_t)ktoa;
	return &csb;
}

static struct eventfds_option eventfds_option(int make)
{
	struct eventfds_option o = { .head = { .nro_reqtype = NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, .nro_status = 0x55,
		.nro_size = sizeof o } };
	for (int i = 0; i < RINGS; i++) {
		o.eventfds[i].ioeventfd = make ? eventfd(0, EFD_NONBLOCK) : -1;
		o.eventfds[i].irqfd = make ? eventfd(0, EFD_NONBLOCK) : -1;
	}
	return o;
}

static struct nmreq_opt_sync_kloop_mode mode_option(uint32_t mode, void *next)
{
	struct nmreq_opt_sync_kloop_mode o = { .nro_opt = { .nro_reqtype = NETMAP_REQ_OPT_SYNC_KLOOP_MODE, .nro_status = 0x55,
		.nro_next = (uintptr_t)next }, .mode = mode };
	return o;
}

static int start_loop(int fd, uint32_t sleep_us, void *options)
{
	struct nmreq_sync_kloop_start start = { .sleep_us = sleep_us };
	return request_with(fd, NETMAP_REQ_SYNC_KLOOP_START, "", &start, options);
}

static int stop_loop(int fd) { return request_on(fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL); }

/* A thread that runs the loop until it is stopped. */
struct loop {
	pthread_t thread;
	int fd, error;
	uint32_t sleep_us;
	void *options;
};

static void *run_loop(void *argument)
{
	struct loop *loop = argument;
	loop->error = start_loop(loop->fd, loop->sleep_us, loop->options);
	return NULL;
}

static void begin_loop(struct loop *loop, int fd, uint32_t sleep_us, void *options)
{
	loop->fd = fd;
	loop->sleep_us = sleep_us;
	loop->options = options;
	loop->error = -1;
	NEED(pthread_create(&loop->thread, NULL, run_loop, loop) == 0);
}

static int end_loop(struct loop *loop)
{
	int error = stop_loop(loop->fd);
	pthread_join(loop->thread, NULL);
	return error;
}

/* Waits until `condition`; it is a fact whether it came. */
#define COMES(condition) ({ \
	int left_ = LONG_MS; \
	while (!(condition) && left_-- > 0) usleep(1000); \
	left_ >= 0; \
})

#define READ(field) __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define WRITE(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELEASE)

/* Puts a packet on the tx ring and shows it to the loop: in CSB mode head and cur are in the CSB. */
static void csb_send(struct port *p, int tag)
{
	struct netmap_ring *ring = txring(p, 0);
	put_on(ring, mac_all, mac_a, 60, tag, 0);
	WRITE(atok[0].cur, ring->head);
	WRITE(atok[0].head, ring->head);
}

static void kick(int fd)
{
	uint64_t one = 1;
	if (write(fd, &one, sizeof one) != sizeof one)
		fact("kick", "%s", error_name(errno));
}

static uint64_t kicks(int fd)
{
	uint64_t n = 0;
	return read(fd, &n, sizeof n) == sizeof n ? n : 0;
}

static void refused(void)
{
	struct eventfds_option fds;
	struct nmreq_opt_sync_kloop_mode mode;
	int fd = open_device();
	fact_error("unbound_sleep_too_long", start_loop(fd, 1000001, NULL));
	fact_error("unbound", start_loop(fd, 1000000, NULL));
	fact_error("unbound_stop", stop_loop(fd));
	close(fd);
	MUST_OPEN(plain, "valek:p");
	fact_error("no_csb", start_loop(plain.fd, 0, NULL));
	mode = mode_option(99, NULL);
	fact_error("no_csb_bad_mode", start_loop(plain.fd, 0, &mode));
	fact_error("no_csb_bad_mode.status", (int)mode.nro_opt.nro_status);
	fact_error("no_csb_stop", stop_loop(plain.fd));
	OPEN_WITH(p, "valek:a", csb_option(), .nr_flags = NR_EXCLUSIVE);
	NEED(p.error == 0);
	fact_error("sleep_too_long", start_loop(p.fd, 1000001, NULL));
	mode = mode_option(4, NULL);
	int error = start_loop(p.fd, 0, &mode);
	fact("bad_mode", "%s status %s", error_name(error), error_name((int)mode.nro_opt.nro_status));
	fds = eventfds_option(0);
	fds.head.nro_size -= 4;
	error = start_loop(p.fd, 0, &fds);
	fact("eventfds_short", "%s status %s", error_name(error), error_name((int)fds.head.nro_status));
	struct { struct eventfds_option o; int32_t more[2]; } longer = { .o = eventfds_option(0) };
	longer.o.head.nro_size = sizeof longer;
	error = start_loop(p.fd, 0, &longer);
	fact("eventfds_long", "%s status %s", error_name(error), error_name((int)longer.o.head.nro_status));
	fds = eventfds_option(0);
	mode = mode_option(NM_OPT_SYNC_KLOOP_DIRECT_TX, &fds);
	error = start_loop(p.fd, 0, &mode);
	fact("direct_without_eventfd", "%s status %s,%s", error_name(error), error_name((int)mode.nro_opt.nro_status),
		error_name((int)fds.head.nro_status));
	mode = mode_option(8, &fds);
	fds = eventfds_option(0);
	fds.head.nro_size = 24;
	error = start_loop(p.fd, 0, &mode);
	fact("bad_mode_first", "%s status %s,%s", error_name(error), error_name((int)mode.nro_opt.nro_status),
		error_name((int)fds.head.nro_status));
	fact_error("txsync", txsync(&p));
}

/* A descriptor that is no eventfd: netmap hands the error out with the wrong sign, so that the call "succeeds" with
 * it. */
static void not_an_eventfd(void)
{
	struct nmreq_sync_kloop_start start = { .sleep_us = 0 };
	struct nmreq_header header;
	OPEN_WITH(p, "valek:a", csb_option(), .nr_flags = NR_EXCLUSIVE);
	NEED(p.error == 0);
	int plain = open("/dev/null", O_RDWR);
	static const char *keys[] = { "ioeventfd_closed", "irqfd_closed", "ioeventfd_file", "irqfd_file" };
	for (int i = 0; i < 4; i++) {
		struct eventfds_option fds = eventfds_option(1);
		int wrong = i < 2 ? 9999 : plain;
		if (i % 2)
			fds.eventfds[1].irqfd = wrong;
		else
			fds.eventfds[1].ioeventfd = wrong;
		make_header(&header, NETMAP_REQ_SYNC_KLOOP_START, "", &start, &fds);
		errno = 0;
		int answer = ioctl(p.fd, NIOCCTRL, &header);
		fact(keys[i], "%d %s status %s", answer, error_name(answer < 0 ? errno : 0), error_name((int)fds.head.nro_status));
	}
}

/* STOP before START is remembered: the loop ends as soon as it begins. */
static void stop_first(void)
{
	OPEN_WITH(p, "valek:a", csb_option(), .nr_flags = NR_EXCLUSIVE);
	NEED(p.error == 0);
	fact_error("stop", stop_loop(p.fd));
	fact_error("start", start_loop(p.fd, 0, NULL));
	struct loop loop;
	begin_loop(&loop, p.fd, 100, NULL);
	csb_send(&p, 1);
	fact("second_start_runs", "%d", COMES(READ(ktoa[0].hwcur) == 1));
	fact_error("end", end_loop(&loop));
	fact_error("loop", loop.error);
}

/* Asleep between rounds. */
static void sleeping(void)
{
	MUST_OPEN(b, "valek:b");
	OPEN_WITH(p, "valek:a", csb_option(), .nr_flags = NR_EXCLUSIVE);
	NEED(p.error == 0);
	struct loop loop;
	begin_loop(&loop, p.fd, 100, NULL);
	csb_send(&p, 0x11);
	fact("sent", "%d", COMES(READ(ktoa[0].hwcur) == 1));
	fact("room", "%d", COMES(READ(ktoa[0].hwtail) == 0));
	fact_received("arrived", &b, 0);
	put_on(txring(&b, 0), mac_all, mac_b, 70, 0x12, 0);
	txsync(&b);
	fact("received", "%d", COMES(READ(ktoa[1].hwtail) == 1));
	struct netmap_slot *slot = &rxring(&p, 0)->slot[0];
	fact("rx_slot", "%u/0x%x", slot->len, slot->flags);
	fact_ring("rx_ring", rxring(&p, 0));
	WRITE(atok[1].cur, 1);
	WRITE(atok[1].head, 1);
	fact("released", "%d", COMES(READ(ktoa[1].hwcur) == 1));
	/* while it runs */
	fact_error("txsync", txsync(&p));
	fact("poll", "%s", poll_result(p.fd, POLLIN, 0));
	fact_error("start_again", start_loop(p.fd, 0, NULL));
	fact_error("csb_again", request_with(p.fd, NETMAP_REQ_CSB_ENABLE, "", NULL, csb_option()));
	fact_error("csb_again.status", (int)csb.nro_opt.nro_status);
	struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC };
	fact_error("register", request_on(p.fd, NETMAP_REQ_REGISTER, "valek:x", &reg));
	fact_error("end", end_loop(&loop));
	fact_error("loop", loop.error);
	/* what is written while it does not run is seen when it runs again */
	csb_send(&p, 0x13);
	fact("not_running", "%u", READ(ktoa[0].hwcur));
	begin_loop(&loop, p.fd, 100, NULL);
	fact("sent_later", "%d", COMES(READ(ktoa[0].hwcur) == 2));
	fact_error("end_again", end_loop(&loop));
	fact_error("loop_again", loop.error);
}

/* A bad head in the CSB: the ring is left alone until it is right. */
static void bad_head(void)
{
	MUST_OPEN(b, "valek:b");
	OPEN_WITH(p, "valek:a", csb_option(), .nr_flags = NR_EXCLUSIVE);
	NEED(p.error == 0);
	struct loop loop;
	WRITE(atok[0].cur, 5000);
	WRITE(atok[0].head, 5000);
	begin_loop(&loop, p.fd, 100, NULL);
	put_on(txring(&b, 0), mac_all, mac_b, 60, 1, 0);
	txsync(&b);
	fact("rx_goes_on", "%d", COMES(READ(ktoa[1].hwtail) == 1));
	fact("tx", "hwcur %u hwtail %u", READ(ktoa[0].hwcur), READ(ktoa[0].hwtail));
	fact("sent", "%u", drain(&b));
	csb_send(&p, 2);
	fact("mended", "%d", COMES(READ(ktoa[0].hwcur) == 1));
	fact_error("end", end_loop(&loop));
}

/* Woken by the program through eventfds, and waking it. */
static void by_eventfd(void)
{
	MUST_OPEN(b, "valek:b");
	OPEN_WITH(p, "valek:a", csb_option(), .nr_flags = NR_EXCLUSIVE);
	NEED(p.error == 0);
	struct eventfds_option fds = eventfds_option(1);
	struct loop loop;
	begin_loop(&loop, p.fd, 0, &fds);
	csb_send(&p, 0x21);
	kick(fds.eventfds[0].ioeventfd);
	fact("sent", "%d", COMES(READ(ktoa[0].hwcur) == 1));
	fact("tx_notified", "%d", COMES(kicks(fds.eventfds[0].irqfd) > 0));
	fact_received("arrived", &b, 0);
	put_on(txring(&b, 0), mac_all, mac_b, 70, 0x22, 0);
	txsync(&b);
	fact("rx_notified", "%d", COMES(kicks(fds.eventfds[1].irqfd) > 0));
	fact("received", "%d", COMES(READ(ktoa[1].hwtail) == 1));
	/* a program that does not want to be notified */
	WRITE(atok[1].appl_need_kick, 0);
	put_on(txring(&b, 0), mac_all, mac_b, 70, 0x23, 0);
	txsync(&b);
	fact("received_quietly", "%d", COMES(READ(ktoa[1].hwtail) == 2));
	fact_error("end", end_loop(&loop));
	fact("quiet", "%d", kicks(fds.eventfds[1].irqfd) == 0);
	fact("loop", "%s status %s", error_name(loop.error), error_name((int)fds.head.nro_status));
}

/* Without notification towards the program, and one eventfd missing: it sleeps between rounds then. */
static void some_eventfds(void)
{
	OPEN_WITH(p, "valek:a", csb_option(), .nr_flags = NR_EXCLUSIVE);
	NEED(p.error == 0);
	struct eventfds_option fds = eventfds_option(1);
	fds.eventfds[0].irqfd = fds.eventfds[1].irqfd = -1;
	struct loop loop;
	begin_loop(&loop, p.fd, 0, &fds);
	csb_send(&p, 1);
	kick(fds.eventfds[0].ioeventfd);
	fact("no_irqfd", "%d", COMES(READ(ktoa[0].hwcur) == 1));
	fact_error("no_irqfd.end", end_loop(&loop));
	fds = eventfds_option(1);
	fds.eventfds[1].ioeventfd = -1;
	begin_loop(&loop, p.fd, 100, &fds);
	csb_send(&p, 2);
	fact("no_kick_needed", "%d", COMES(READ(ktoa[0].hwcur) == 2));
	fact("tx_notified", "%d", COMES(kicks(fds.eventfds[0].irqfd) > 0));
	fact_error("no_ioeventfd.end", end_loop(&loop));
	fact_error("loop", loop.error);
}

/* Direct: the ring is synced by whoever writes the eventfd. */
static void direct(void)
{
	MUST_OPEN(b, "valek:b");
	OPEN_WITH(p, "valek:a", csb_option(), .nr_flags = NR_EXCLUSIVE);
	NEED(p.error == 0);
	struct eventfds_option fds = eventfds_option(1);
	struct nmreq_opt_sync_kloop_mode mode = mode_option(NM_OPT_SYNC_KLOOP_DIRECT_TX | NM_OPT_SYNC_KLOOP_DIRECT_RX, &fds);
	struct loop loop;
	begin_loop(&loop, p.fd, 0, &mode);
	csb_send(&p, 0x31);
	fact("sent", "%d", COMES(({ kick(fds.eventfds[0].ioeventfd); READ(ktoa[0].hwcur) == 1; })));
	fact_received("arrived", &b, 0);
	put_on(txring(&b, 0), mac_all, mac_b, 70, 0x32, 0);
	txsync(&b);
	fact("rx_notified", "%d", COMES(kicks(fds.eventfds[1].irqfd) > 0));
	fact("received", "%d", COMES(({ kick(fds.eventfds[1].ioeventfd); READ(ktoa[1].hwtail) == 1; })));
	fact_error("end", end_loop(&loop));
	fact("loop", "%s status %s,%s", error_name(loop.error), error_name((int)mode.nro_opt.nro_status),
		error_name((int)fds.head.nro_status));
	/* direct without eventfds at all: nobody syncs */
	mode = mode_option(NM_OPT_SYNC_KLOOP_DIRECT_TX, NULL);
	begin_loop(&loop, p.fd, 100, &mode);
	csb_send(&p, 0x33);
	put_on(txring(&b, 0), mac_all, mac_b, 70, 0x34, 0);
	txsync(&b);
	fact("rx_by_loop", "%d", COMES(READ(ktoa[1].hwtail) == 2));
	fact("tx_by_nobody", "%u", READ(ktoa[0].hwcur));
	fact_error("end_no_eventfds", end_loop(&loop));
}

/* A pipe through the loop. */
static void on_pipe(void)
{
	MUST_OPEN(b, "kp}1");
	OPEN_WITH(p, "kp{1", csb_option(), .nr_flags = NR_EXCLUSIVE);
	NEED(p.error == 0);
	struct loop loop;
	begin_loop(&loop, p.fd, 100, NULL);
	csb_send(&p, 0x41);
	fact("sent", "%d", COMES(READ(ktoa[0].hwcur) == 1));
	fact("hwtail", "%u", READ(ktoa[0].hwtail));
	fact_received("arrived", &b, 0);
	drain(&b);
	fact("given_back", "%d", COMES(READ(ktoa[0].hwtail) == 0));
	fact_error("end", end_loop(&loop));
}

SCENARIO("switch", "the sync loop: refusals, sleep, eventfds, direct",
	{ "refused", refused }, { "not_an_eventfd", not_an_eventfd }, { "stop_first", stop_first }, { "sleeping", sleeping },
	{ "bad_head", bad_head }, { "by_eventfd", by_eventfd }, { "some_eventfds", some_eventfds }, { "direct", direct },
	{ "on_pipe", on_pipe })
