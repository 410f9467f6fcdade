/*
 * What the test programs of sync loops share: a port in CSB mode, its loop in a thread, packets through both.
 */
#ifndef KLOOP_H
#define KLOOP_H

#include "options.h"

#include <stdatomic.h>

#define ENTRIES 2
#define TX 0
#define RX 1

/* A port in CSB mode, with a thread for its loop. */
struct looped {
	struct port port;
	struct nm_csb_atok *atok;
	struct nm_csb_ktoa *ktoa;
	struct nmreq_sync_kloop_start start;
	void *options;
	pthread_t thread;
	int result, error;
	_Atomic int over;
	struct {
		int io, irq;
	} fds[ENTRIES];
};

/* A page for the CSB: the first half is the program's, the second the loop's. */
static UNUSED void *csb_page(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	return at;
}

static UNUSED struct nmreq_opt_csb csb_option(void *atok, void *ktoa)
{
	struct nmreq_opt_csb o;
	memset(&o, 0, sizeof o);
	o.nro_opt.nro_reqtype = NETMAP_REQ_OPT_CSB;
	o.nro_opt.nro_status = 0x55;
	o.csb_atok = (uintptr_t)atok;
	o.csb_ktoa = (uintptr_t)ktoa;
	return o;
}

/* The loop's view, which it changes while we look. */
#define SEEN(x) (*(volatile __typeof__(x) *)&(x))

static UNUSED void open_looped(struct looped *l, const char *name)
{
	memset(l, 0, sizeof *l);
	char *page = csb_page();
	l->atok = (void *)page;
	l->ktoa = (void *)(page + 2048);
	struct nmreq_opt_csb o = csb_option(l->atok, l->ktoa);
	l->port.fd = open_device();
	l->port.reg.nr_mode = NR_REG_ALL_NIC;
	l->port.reg.nr_flags = NR_EXCLUSIVE;
	CHECK(refused(l->port.fd, NETMAP_REQ_REGISTER, name, &l->port.reg, &o) == 0);
	CHECK(o.nro_opt.nro_status == 0);
	CHECK(map_port(&l->port) == 0);
	CHECK(l->ktoa[TX].hwtail == 1023 && l->ktoa[TX].kern_need_kick == 1 && l->ktoa[RX].hwtail == 0);
	CHECK(l->atok[TX].appl_need_kick == 1 && l->atok[RX].sync_flags == 1);
}

static UNUSED void *loop(void *with)
{
	struct looped *l = with;
	l->result = request(l->port.fd, NETMAP_REQ_SYNC_KLOOP_START, "", &l->start, l->options);
	l->error = errno;
	atomic_store(&l->over, 1);
	return NULL;
}

static UNUSED void start(struct looped *l, unsigned sleep_us, void *options)
{
	l->start.sleep_us = sleep_us;
	l->options = options;
	l->over = 0;
	CHECK(pthread_create(&l->thread, NULL, loop, l) == 0);
}

/* Waits until the loop runs: it says first of all that it need not be told. */
static UNUSED void wait_running(struct looped *l)
{
	WAIT_FOR(SEEN(l->ktoa[RX].kern_need_kick) == 0 || l->over);
	CHECK(!l->over);
}

static UNUSED void stop_by(struct looped *l, int fd)
{
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
	CHECK(pthread_join(l->thread, NULL) == 0);
	CHECK(l->result == 0);
}

static UNUSED void stop(struct looped *l)
{
	stop_by(l, l->port.fd);
}

/* Puts a packet into the tx ring and shows it to the loop. */
static UNUSED void send_through(struct looped *l, uint64_t *seq)
{
	struct netmap_ring *ring = tx_ring(&l->port, 0);
	uint32_t head = l->atok[TX].head, tail, hwcur;
	nm_sync_kloop_appl_read(&l->ktoa[TX], &tail, &hwcur);
	WAIT_FOR(SEEN(l->ktoa[TX].hwtail) != head);
	struct netmap_slot *slot = &ring->slot[head];
	write_packet((uint8_t *)NETMAP_BUF(ring, slot->buf_idx), SHORTEST, 0xff, 1, (*seq)++);
	slot->len = SHORTEST;
	slot->flags = 0;
	head = nm_ring_next(ring, head);
	nm_sync_kloop_appl_write(&l->atok[TX], head, head);
}

static UNUSED void kick(struct looped *l, int entry)
{
	if (l->fds[entry].io > 0 && SEEN(l->ktoa[entry].kern_need_kick)) {
		uint64_t one = 1;
		CHECK(write(l->fds[entry].io, &one, sizeof one) == sizeof one);
	}
}

/* Takes what the loop shows in the rx ring. */
static UNUSED unsigned take_through(struct looped *l, struct seen *seen)
{
	struct netmap_ring *ring = rx_ring(&l->port, 0);
	uint32_t head = l->atok[RX].head, tail, hwcur;
	unsigned n = 0;
	nm_sync_kloop_appl_read(&l->ktoa[RX], &tail, &hwcur);
	for (; head != tail; head = nm_ring_next(ring, head), n++) {
		struct netmap_slot *slot = &ring->slot[head];
		check_packet(seen, (uint8_t *)NETMAP_BUF(ring, slot->buf_idx), slot->len, 2);
	}
	nm_sync_kloop_appl_write(&l->atok[RX], head, head);
	return n;
}

static UNUSED void send_and_see(struct looped *l, struct port *other, unsigned packets)
{
	struct seen there, here;
	memset(&there, 0, sizeof there);
	memset(&here, 0, sizeof here);
	uint64_t seq = 0, back = 0;
	for (unsigned i = 0; i < packets; i++) {
		send_through(l, &seq);
		kick(l, TX);
		WAIT_FOR(take_now(other, &there) == 1);
		send_one(other, 0xff, 2, &back);
		WAIT_FOR(take_through(l, &here) == 1);
		kick(l, RX);
	}
}

struct eventfds {
	struct nmreq_option opt;
	struct {
		int32_t io, irq;
	} fds[ENTRIES];
};

static UNUSED struct eventfds eventfds_of(struct looped *l)
{
	struct eventfds o;
	memset(&o, 0, sizeof o);
	o.opt.nro_reqtype = NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS;
	o.opt.nro_size = sizeof o;
	o.opt.nro_status = 0x55;
	for (int i = 0; i < ENTRIES; i++) {
		o.fds[i].io = l->fds[i].io = eventfd(0, 0);
		o.fds[i].irq = l->fds[i].irq = eventfd(0, EFD_NONBLOCK);
		CHECK(l->fds[i].io >= 0 && l->fds[i].irq >= 0);
	}
	return o;
}

static UNUSED struct nmreq_opt_sync_kloop_mode mode_option(uint32_t mode, void *next)
{
	struct nmreq_opt_sync_kloop_mode o;
	memset(&o, 0, sizeof o);
	o.nro_opt.nro_reqtype = NETMAP_REQ_OPT_SYNC_KLOOP_MODE;
	o.nro_opt.nro_status = 0x55;
	o.nro_opt.nro_next = (uintptr_t)next;
	o.mode = mode;
	return o;
}

#endif
