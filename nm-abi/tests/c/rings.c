/*
 * A region built by hand, and the functions and macros of net/netmap_user.h at work on it.
 * Exits with 1 and a line for each thing that is not as it should be.
 *
 * Layout: netmap_if with 2 tx, 1 host tx, 2 rx, 1 host rx rings; the rings, 4 slots each; 32
 * buffers of 256 bytes. Ring n (in the order above) has the buffers 4n to 4n+3.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RINGS		6
#define SLOTS		4
#define BUFSIZE		256
#define RING_BYTES	(256 + SLOTS * 16)
#define RING_AT(n)	(1024 + (n) * 384)
#define BUFS_AT		8192
#define REGION		(BUFS_AT + 32 * BUFSIZE)

static char *region;
static unsigned char request[60];
static int mapped, unmapped;

static void build(void);

static int
fake_open(const char *path, int flags)
{
	if (strcmp(path, "/dev/netmap") != 0 || flags != O_RDWR)
		abort();
	return dup(2);
}

static int fake_ioctl(int fd, unsigned long cmd, void *arg);

static void *
fake_mmap(void *at, size_t len, int prot, int flags, int fd, long offset)
{
	(void)fd;
	if (at != NULL || len != REGION || prot != (PROT_READ | PROT_WRITE) ||
	    flags != MAP_SHARED || offset != 0)
		abort();
	mapped++;
	return region;
}

static int
fake_munmap(void *at, size_t len)
{
	if (at != region || len != REGION)
		abort();
	unmapped++;
	return 0;
}

#define open	fake_open
#define ioctl	fake_ioctl
#define mmap	fake_mmap
#define munmap	fake_munmap
#define NETMAP_WITH_LIBS
#define ND(...)	do { } while (0)
#define D(...)	do { } while (0)
#define RD(...)	do { } while (0)
#include <net/netmap_user.h>

static int failures;

#define CHECK(what)	do {						\
	if (!(what)) {							\
		fprintf(stderr, "line %d: not so: %s\n", __LINE__, #what);	\
		failures++;						\
	}								\
} while (0)

static int
fake_ioctl(int fd, unsigned long cmd, void *arg)
{
	struct nmreq *req = (struct nmreq *)arg;

	(void)fd;
	if (cmd != NIOCREGIF)
		abort();
	memcpy(request, req, sizeof(request));
	req->nr_offset = 64;
	req->nr_memsize = REGION;
	req->nr_tx_rings = req->nr_rx_rings = 2;
	req->nr_tx_slots = req->nr_rx_slots = SLOTS;
	req->nr_arg2 = 7;
	return 0;
}

#define SET(type, at, value)	(*(type *)(uintptr_t)(at) = (value))

/* Rings at rest: tx rings are empty but for one slot, rx rings are empty. */
static void
build(void)
{
	struct netmap_if *nifp;
	int n, i;

	memset(region, 0, REGION);
	nifp = NETMAP_IF(region, 64);
	SET(uint32_t, &nifp->ni_tx_rings, 2);
	SET(uint32_t, &nifp->ni_rx_rings, 2);
	SET(uint32_t, &nifp->ni_host_tx_rings, 1);
	SET(uint32_t, &nifp->ni_host_rx_rings, 1);
	for (n = 0; n < RINGS; n++) {
		struct netmap_ring *ring = (struct netmap_ring *)(void *)(region + RING_AT(n));

		SET(ssize_t, &nifp->ring_ofs[n], RING_AT(n) - 64);
		SET(int64_t, &ring->buf_ofs, BUFS_AT - RING_AT(n));
		SET(uint32_t, &ring->num_slots, SLOTS);
		SET(uint32_t, &ring->nr_buf_size, BUFSIZE);
		SET(uint16_t, &ring->ringid, n % 3);
		ring->tail = n < 3 ? SLOTS - 1 : 0;
		for (i = 0; i < SLOTS; i++)
			ring->slot[i].buf_idx = (uint32_t)(4 * n + i);
	}
}

static void
check_macros(void)
{
	struct netmap_if *nifp = NETMAP_IF(region, 64);
	struct netmap_ring *tx = NETMAP_TXRING(nifp, 1), *rx = NETMAP_RXRING(nifp, 1);
	struct netmap_slot *slot = &rx->slot[2];

	CHECK((char *)tx == region + RING_AT(1));
	CHECK((char *)rx == region + RING_AT(4));
	CHECK(NETMAP_BUF(rx, 5) == region + BUFS_AT + 5 * BUFSIZE);
	CHECK(NETMAP_BUF(tx, 5) == NETMAP_BUF(rx, 5));
	CHECK(NETMAP_BUF_IDX(rx, NETMAP_BUF(rx, 5)) == 5);
	CHECK(NETMAP_BUF_IDX(rx, NETMAP_BUF(rx, 5) + 255) == 5);
	CHECK(nm_ring_next(rx, 2) == 3 && nm_ring_next(rx, 3) == 0);
	CHECK(nm_ring_empty(rx) && !nm_ring_empty(tx));
	CHECK(nm_ring_space(rx) == 0 && nm_ring_space(tx) == 3);
	tx->head = 3;
	tx->tail = 1;
	CHECK(nm_ring_space(tx) == 2);
	CHECK(nm_tx_pending(tx));
	tx->head = 2;
	CHECK(!nm_tx_pending(tx));
	slot->flags = 0x0320;
	CHECK(NS_RFRAGS(slot) == 3);

	SET(uint64_t, &rx->offset_mask, 0xffff);
	slot->ptr = 0x123450007;
	CHECK(NETMAP_ROFFSET(rx, slot) == 7);
	NETMAP_WOFFSET(rx, slot, 0xabcdef12);
	CHECK(slot->ptr == 0x12345ef12);
	NETMAP_WOFFSET(rx, slot, 64);
	CHECK(NETMAP_BUF_OFFSET(rx, slot) == NETMAP_BUF(rx, slot->buf_idx) + 64);

	nm_pkt_copy("abc", NETMAP_BUF(rx, 3), 4);
	CHECK(strcmp(NETMAP_BUF(rx, 3), "abc") == 0);
	nm_pkt_copy(NETMAP_BUF(rx, 3), NETMAP_BUF(rx, 4), 64);
	CHECK(memcmp(NETMAP_BUF(rx, 3), NETMAP_BUF(rx, 4), 64) == 0);
}

static void
check_csb(void)
{
	struct nm_csb_atok atok = { .head = 0 };
	struct nm_csb_ktoa ktoa = { .hwcur = 5, .hwtail = 6 };
	uint32_t tail, cur;

	nm_sync_kloop_appl_write(&atok, 3, 2);
	CHECK(atok.cur == 3 && atok.head == 2);
	nm_sync_kloop_appl_read(&ktoa, &tail, &cur);
	CHECK(tail == 6 && cur == 5);
}

static void
check_open(void)
{
	struct nmreq preset, sent, *s = &sent;
	struct nm_desc *d, *e;
	int fd;

	build();
	memset(&preset, 0, sizeof(preset));
	preset.nr_tx_slots = 99;
	preset.nr_arg3 = 8;
	preset.nr_flags = NR_ACCEPT_VNET_HDR;
	d = nm_open("netmap:x-1/x@3", &preset, NETMAP_NO_TX_POLL, NULL);
	CHECK(IS_NETMAP_DESC(d));
	memcpy(s, request, sizeof(sent));
	CHECK(strcmp(s->nr_name, "x") == 0 && s->nr_version == NETMAP_API);
	CHECK(s->nr_ringid == (1 | NETMAP_NO_TX_POLL) && s->nr_arg2 == 3);
	CHECK(s->nr_tx_slots == 99 && s->nr_arg3 == 8 && s->nr_arg1 == 0);
	CHECK(s->nr_flags == (NR_REG_ONE_NIC | NR_EXCLUSIVE | NR_ACCEPT_VNET_HDR));
	CHECK(d->first_tx_ring == 1 && d->last_tx_ring == 1 && d->cur_tx_ring == 1);
	CHECK(d->first_rx_ring == 1 && d->last_rx_ring == 1 && d->cur_rx_ring == 1);
	CHECK(mapped == 1 && d->done_mmap && d->mem == region && d->memsize == REGION);
	CHECK((char *)d->nifp == region + 64 && d->some_ring == NETMAP_RXRING(d->nifp, 1));
	CHECK(d->buf_start == region + BUFS_AT && d->buf_end == region + REGION);
	CHECK(NETMAP_FD(d) == d->fd && P2NMD(d) == d);

	/* the second descriptor has the same region, so it shares the mapping */
	d->req.nr_arg1 = 5;
	d->req.nr_rx_slots = 77;
	e = nm_open("netmap:y*", NULL, NM_OPEN_ARG1 | NM_OPEN_RING_CFG, d);
	CHECK(IS_NETMAP_DESC(e) && mapped == 1 && !e->done_mmap && e->mem == region);
	memcpy(s, request, sizeof(sent));
	CHECK(s->nr_arg1 == 5 && s->nr_arg3 == 0 && s->nr_rx_slots == 77);
	CHECK(strcmp(s->nr_name, "y") == 0 && s->nr_flags == NR_REG_NIC_SW);
	CHECK(e->first_tx_ring == 0 && e->last_tx_ring == 2 && e->last_rx_ring == 2);
	CHECK(nm_close(e) == 0 && unmapped == 0);

	e = nm_open("vale:", NULL, NM_OPEN_IFNAME | NM_OPEN_ARG2 | NM_OPEN_NO_MMAP, d);
	memcpy(s, request, sizeof(sent));
	CHECK(strcmp(s->nr_name, "x") == 0 && s->nr_arg1 == 4 && s->nr_arg2 == 7);
	CHECK((s->nr_ringid & NETMAP_RING_MASK) == 1 && e->first_rx_ring == 1);
	CHECK(e->mem == region);
	CHECK(nm_close(e) == 0);

	fd = d->fd;
	CHECK(nm_close(d) == 0 && unmapped == 1);
	CHECK(fcntl(fd, F_GETFD) == -1);
	CHECK(nm_close(NULL) == EINVAL);

	d = nm_open("netmap:x^", NULL, NM_OPEN_NO_MMAP, NULL);
	CHECK(d->first_tx_ring == 2 && d->last_rx_ring == 2 && mapped == 1 && d->mem == NULL);
	CHECK(nm_close(d) == 0 && unmapped == 1);
	d = nm_open("netmap:x}4", NULL, NM_OPEN_NO_MMAP, NULL);
	CHECK(d->first_tx_ring == 0 && d->last_tx_ring == 0 && d->last_rx_ring == 0);
	CHECK(nm_close(d) == 0);

	errno = 77;
	CHECK(nm_open("eth0", NULL, 0, NULL) == NULL && errno == 0);
	CHECK(nm_open("netmap:x/q", NULL, 0, NULL) == NULL && errno == EINVAL);
}

static void
check_parse(void)
{
	struct nm_desc d;
	char err[MAXERRMSG];

	memset(&d, 0, sizeof(d));
	d.req.nr_flags = NR_ACCEPT_VNET_HDR;
	err[0] = '\0';
	CHECK(nm_parse("vale0:x-2/T", &d, err) == 0 && err[0] == '\0');
	CHECK(d.self == &d && d.req.nr_ringid == 2);
	CHECK(d.req.nr_flags == (NR_ACCEPT_VNET_HDR | NR_REG_ONE_NIC | NR_TX_RINGS_ONLY));
	CHECK(nm_parse("vale0:x-q", &d, err) == -1 && err[0] != '\0' && errno == EINVAL);
	CHECK(nm_parse("vale0:x-q", &d, NULL) == -1);
}

static void
check_inject(void)
{
	struct nm_desc *d;
	struct netmap_ring *r0, *r1;
	char data[1024];
	int i;

	build();
	d = nm_open("netmap:x", NULL, 0, NULL);
	r0 = NETMAP_TXRING(d->nifp, 0);
	r1 = NETMAP_TXRING(d->nifp, 1);
	for (i = 0; i < (int)sizeof(data); i++)
		data[i] = (char)(i * 7);

	CHECK(nm_inject(d, data, 60) == 60);
	CHECK(r0->head == 1 && r0->cur == 1 && r0->slot[0].len == 60 && r0->slot[0].flags == 0);
	CHECK(memcmp(NETMAP_BUF(r0, 0), data, 60) == 0);

	/* three slots do not fit what is left of ring 0, they fit ring 1 */
	CHECK(nm_inject(d, data, 2 * BUFSIZE + 5) == 2 * BUFSIZE + 5);
	CHECK(r0->head == 1 && r1->head == 3 && r1->cur == 3 && d->cur_tx_ring == 1);
	CHECK(r1->slot[0].len == BUFSIZE && r1->slot[0].flags == NS_MOREFRAG);
	CHECK(r1->slot[1].len == BUFSIZE && r1->slot[1].flags == NS_MOREFRAG);
	CHECK(r1->slot[2].len == 5 && r1->slot[2].flags == 0);
	CHECK(memcmp(NETMAP_BUF(r1, 5), data + BUFSIZE, BUFSIZE) == 0);
	CHECK(memcmp(NETMAP_BUF(r1, 6), data + 2 * BUFSIZE, 5) == 0);

	/* exactly one buffer, then exactly two, which do not fit any more */
	CHECK(nm_inject(d, data, BUFSIZE) == BUFSIZE);
	CHECK(r0->head == 2 && r0->slot[1].len == BUFSIZE && r0->slot[1].flags == 0);
	CHECK(nm_inject(d, data, 2 * BUFSIZE) == 0);
	CHECK(r0->head == 2 && r1->head == 3);
	CHECK(nm_inject(d, data, BUFSIZE) == BUFSIZE);
	CHECK(nm_inject(d, data, 1) == 0);

	/* around the end of the ring */
	r0->tail = 1;
	CHECK(nm_inject(d, data, BUFSIZE + 1) == BUFSIZE + 1);
	CHECK(r0->slot[3].flags == NS_MOREFRAG && r0->slot[0].len == 1 && r0->head == 1);
	nm_close(d);
}

static int called;
static uint32_t lens[8], caplens[8];
static uint64_t more[8];
static const unsigned char *bufs[8];

static void
callback(unsigned char *arg, const struct nm_pkthdr *hdr, const unsigned char *data)
{
	CHECK(arg == (unsigned char *)&called && hdr->buf == data && hdr->d != NULL);
	lens[called] = hdr->len;
	caplens[called] = hdr->caplen;
	more[called] = hdr->flags;
	bufs[called++] = data;
}

static void
check_receive(void)
{
	struct nm_desc *d;
	struct netmap_ring *r0, *r1;
	struct nm_pkthdr hdr;

	build();
	d = nm_open("netmap:x", NULL, 0, NULL);
	r0 = NETMAP_RXRING(d->nifp, 0);
	r1 = NETMAP_RXRING(d->nifp, 1);
	CHECK(nm_dispatch(d, 0, callback, (unsigned char *)&called) == 0 && called == 0);
	CHECK(nm_nextpkt(d, &hdr) == NULL);

	/* ring 0: a packet of two neighbours; ring 1: one of strangers, one in a single slot */
	r0->slot[0].len = BUFSIZE;
	r0->slot[0].flags = NS_MOREFRAG;
	r0->slot[1].len = 10;
	r0->tail = 2;
	r1->slot[0].len = 100;
	r1->slot[0].flags = NS_MOREFRAG;
	r1->slot[1].len = 11;
	r1->slot[2].len = 60;
	r1->tail = 3;
	r1->ts.tv_sec = 5;
	CHECK(nm_dispatch(d, -1, callback, (unsigned char *)&called) == 3 && called == 3);
	CHECK(lens[0] == BUFSIZE + 10 && caplens[0] == BUFSIZE + 10);
	CHECK(lens[1] == 111 && caplens[1] == 100);
	CHECK(lens[2] == 60 && caplens[2] == 60);
	CHECK(more[0] == NM_MORE_PKTS && more[1] == NM_MORE_PKTS && more[2] == 0);
	CHECK((char *)bufs[0] == NETMAP_BUF(r0, 12) && (char *)bufs[2] == NETMAP_BUF(r0, 18));
	CHECK(d->hdr.slot == &r1->slot[2] && d->hdr.ts.tv_sec == 5 && d->cur_rx_ring == 1);
	CHECK(r0->head == 2 && r0->cur == 2 && r1->head == 3 && r1->cur == 3);

	/* a limit leaves the rest; the next call starts where this one stopped */
	r0->tail = 1;
	r0->slot[2].len = 62;
	r0->slot[3].len = 63;
	r0->slot[0].len = 64;
	r0->slot[0].flags = 0;
	called = 0;
	CHECK(nm_dispatch(d, 2, callback, (unsigned char *)&called) == 2 && called == 2);
	CHECK(lens[0] == 62 && lens[1] == 63 && r0->head == 0 && d->cur_rx_ring == 0);
	CHECK(more[0] == NM_MORE_PKTS && more[1] == 0);

	/* one by one, ring after ring */
	r1->tail = 0;
	r1->slot[3].len = 65;
	CHECK((char *)nm_nextpkt(d, &hdr) == NETMAP_BUF(r0, 12) && hdr.len == 64);
	CHECK(r0->head == 1 && r0->cur == 1);
	CHECK((char *)nm_nextpkt(d, &hdr) == NETMAP_BUF(r0, 19) && hdr.caplen == 65);
	CHECK(hdr.ts.tv_sec == 5 && r1->head == 0 && d->cur_rx_ring == 1);
	CHECK(nm_nextpkt(d, &hdr) == NULL);
	nm_close(d);
}

int
main(void)
{
	region = aligned_alloc(4096, (REGION + 4095) & ~4095);
	if (region == NULL)
		abort();
	build();
	check_macros();
	check_csb();
	check_open();
	check_parse();
	check_inject();
	check_receive();
	free(region);
	return failures != 0;
}
