/*
 * Ports through libnetmap, one case per run: `ports CASE`, or `ports --list`. A case ends with
 * "ok CASE". Compiles as C and as C++.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libnetmap.h>

#include "../cases.h"

static char sentence[1024];
static int sentences;

static void
fail(int line, const char *what)
{
	printf("FAILED %s:%d: %s (errno %d: %s); last sentence: %s\n", __FILE__, line, what, errno,
	    strerror(errno), sentence);
	exit(1);
}

#define CHECK(what)	do { if (!(what)) fail(__LINE__, #what); } while (0)

static void
remember(struct nmctx *ctx, const char *text)
{
	(void)ctx;
	snprintf(sentence, sizeof(sentence), "%s", text);
	sentences++;
}

/* Whether one sentence was said since the last question, with this in it. */
static int
said(const char *part)
{
	int found = sentences == 1 && strstr(sentence, part) != NULL;

	sentences = 0;
	return found;
}

static struct nmport_d *
must_open(const char *name)
{
	struct nmport_d *d = nmport_open(name);

	CHECK(d != NULL);
	CHECK(d->register_done && d->mmap_done && d->fd >= 0 && d->mem != NULL && d->nifp != NULL);
	return d;
}

static void
sync_tx(struct nmport_d *d)
{
	CHECK(ioctl(d->fd, NIOCTXSYNC) == 0);
}

/* Whether an address is mapped. */
static int
mapped(void *p)
{
	uintptr_t page = (uintptr_t)p & ~(uintptr_t)4095;

	return msync((void *)page, 4096, MS_ASYNC) == 0;
}

/* ---------------------------------------------------------------- packets */

static unsigned char packet[20000];

static void
make_packet(size_t size, unsigned char mark)
{
	size_t i;

	for (i = 0; i < size; i++)
		packet[i] = (unsigned char)(i * 7 + mark);
	memset(packet, 0xff, 6);	/* to everybody */
	packet[6] = 2;
	packet[7] = mark;
}

/* Takes a packet off a receiving port: its bytes, all slots together. 0 if there is none. */
static size_t
receive(struct nmport_d *d, unsigned char *to, unsigned *slots)
{
	unsigned r;

	CHECK(ioctl(d->fd, NIOCRXSYNC) == 0);
	for (r = d->first_rx_ring; r <= d->last_rx_ring; r++) {
		struct netmap_ring *ring = NETMAP_RXRING(d->nifp, r);
		size_t size = 0;
		int more;

		if (nm_ring_empty(ring))
			continue;
		*slots = 0;
		do {
			struct netmap_slot *slot = &ring->slot[ring->cur];

			CHECK(!nm_ring_empty(ring));
			memcpy(to + size, NETMAP_BUF(ring, slot->buf_idx), slot->len);
			size += slot->len;
			more = slot->flags & NS_MOREFRAG;
			ring->head = ring->cur = nm_ring_next(ring, ring->cur);
			(*slots)++;
		} while (more);
		return size;
	}
	return 0;
}

static void
expect_packet(struct nmport_d *d, size_t size, unsigned want_slots)
{
	static unsigned char got[sizeof(packet)];
	unsigned slots = 0;

	CHECK(receive(d, got, &slots) == size);
	CHECK(slots == want_slots);
	CHECK(memcmp(got, packet, size) == 0);
}

/* ---------------------------------------------------------------- cases */

static int locked, locks;

static void
count_lock(struct nmctx *ctx, int lock)
{
	(void)ctx;
	locked += lock ? 1 : -1;
	locks++;
	CHECK(locked == (lock ? 1 : 0));
}

static void
case_open(void)
{
	struct nmctx *ctx = nmctx_get(), own;
	struct nmport_d *d = must_open("vale0:a");
	void *mem = d->mem->mem;

	CHECK(d->ctx == ctx && ctx->mem_descs == d->mem);
	CHECK(d->mem->refcount == 1 && d->mem->mem_id == d->reg.nr_mem_id && d->reg.nr_mem_id != 0);
	CHECK(d->mem->size == d->reg.nr_memsize && !d->mem->is_extmem);
	CHECK(d->mem->next == NULL && d->mem->prev == NULL);
	CHECK((char *)d->nifp == (char *)mem + d->reg.nr_offset);
	CHECK(strcmp(d->nifp->ni_name, "vale0:a") == 0 && strcmp(d->hdr.nr_name, "vale0:a") == 0);
	CHECK(d->reg.nr_mode == NR_REG_ALL_NIC && d->reg.nr_tx_rings == 1 && d->reg.nr_tx_slots == 1024);
	CHECK(d->first_tx_ring == 0 && d->last_tx_ring == 0 && d->cur_tx_ring == 0);
	CHECK(d->first_rx_ring == 0 && d->last_rx_ring == 0 && d->cur_rx_ring == 0);
	CHECK(NETMAP_TXRING(d->nifp, 0)->num_slots == 1024);
	CHECK(nm_ring_space(NETMAP_TXRING(d->nifp, 0)) == 1023);
	CHECK(mapped(mem));
	nmport_close(d);
	CHECK(ctx->mem_descs == NULL && !mapped(mem));
	/* again, in a context of our own, whose list is used under its lock */
	own = *ctx;
	own.lock = count_lock;
	CHECK(nmctx_set_default(&own) == ctx);
	d = must_open("vale0:a");
	CHECK(d->ctx == &own && own.mem_descs == d->mem && ctx->mem_descs == NULL);
	CHECK(locks == 2 && locked == 0);
	nmport_close(d);
	CHECK(locks == 4 && locked == 0 && own.mem_descs == NULL);
	CHECK(sentences == 0);
}

static void
case_inject(void)
{
	struct nmport_d *a = must_open("vale0:a"), *b = must_open("vale0:b");
	struct pollfd pfd;
	struct netmap_ring *ring = NETMAP_TXRING(a->nifp, 0);
	unsigned n;

	make_packet(60, 1);
	CHECK(nmport_inject(a, packet, 60) == 60);
	CHECK(ring->head == 1 && ring->cur == 1 && ring->slot[0].len == 60 && ring->slot[0].flags == 0);
	sync_tx(a);
	expect_packet(b, 60, 1);

	/* poll() does the work of a sync */
	make_packet(1514, 2);
	CHECK(nmport_inject(a, packet, 1514) == 1514);
	pfd.fd = a->fd;
	pfd.events = POLLOUT;
	CHECK(poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLOUT));
	pfd.fd = b->fd;
	pfd.events = POLLIN;
	CHECK(poll(&pfd, 1, -1) == 1 && (pfd.revents & POLLIN));
	expect_packet(b, 1514, 1);

	/* more than a buffer */
	make_packet(5000, 3);
	CHECK(nmport_inject(a, packet, 5000) == 5000);
	sync_tx(a);
	expect_packet(b, 5000, 3);
	make_packet(4096, 4);
	CHECK(nmport_inject(a, packet, 4096) == 4096);
	sync_tx(a);
	expect_packet(b, 4096, 2);

	/* until the ring is full */
	make_packet(100, 5);
	for (n = 0; nmport_inject(a, packet, 100) == 100; n++)
		CHECK(n < 1023);
	CHECK(n == 1023 && ring->head == ring->tail);
	sync_tx(a);
	CHECK(nmport_inject(a, packet, 100) == 100);
	nmport_close(a);
	nmport_close(b);
}

/* A packet of no bytes needs a slot as well. */
static void
case_inject_nothing(void)
{
	struct nmport_d *a = must_open("vale0:a@conf:slots=16");
	struct netmap_ring *ring = NETMAP_TXRING(a->nifp, 0);

	CHECK(nmport_inject(a, packet, 0) == 0 && ring->head == 1 && ring->slot[0].len == 0);
	while (nmport_inject(a, packet, 60) == 60)
		;
	CHECK(nmport_inject(a, packet, 0) == 0 && ring->head == ring->tail);
	nmport_close(a);
}

static void
case_ring_of_several(void)
{
	struct nmport_d *a = must_open("vale0:a@conf:rings=3,slots=64");
	unsigned i, r;

	CHECK(a->reg.nr_tx_rings == 3 && a->reg.nr_rx_rings == 3 && a->reg.nr_tx_slots == 64);
	CHECK(a->first_tx_ring == 0 && a->last_tx_ring == 2 && a->last_rx_ring == 2);
	make_packet(60, 1);
	a->cur_tx_ring = 1;
	for (i = 0; i < 63; i++)
		CHECK(nmport_inject(a, packet, 60) == 60 && a->cur_tx_ring == 1);
	for (r = 2; r != 1; r = (r + 1) % 3)
		for (i = 0; i < 63; i++)
			CHECK(nmport_inject(a, packet, 60) == 60 && a->cur_tx_ring == r);
	CHECK(nmport_inject(a, packet, 60) == 0);
	CHECK(a->cur_tx_ring == 0);
	sync_tx(a);
	CHECK(nmport_inject(a, packet, 60) == 60 && a->cur_tx_ring == 0);
	nmport_close(a);

	/* a packet that does not fit a ring takes the next one */
	a = must_open("vale0:a@conf:rings=2,slots=4");
	make_packet(5000, 1);
	CHECK(nmport_inject(a, packet, 60) == 60 && nmport_inject(a, packet, 5000) == 5000);
	CHECK(a->cur_tx_ring == 1);
	CHECK(nmport_inject(a, packet, 2049) == 2049 && a->cur_tx_ring == 0);
	CHECK(nmport_inject(a, packet, 60) == 0);
	nmport_close(a);
}

static void
case_one_direction(void)
{
	struct nmport_d *t = must_open("vale0:a/T@conf:rings=2"), *r = must_open("vale0:a/R");
	struct nmport_d *one = must_open("vale0:a-1");

	CHECK(t->first_tx_ring == 0 && t->last_tx_ring == 1 && t->first_rx_ring > t->last_rx_ring);
	CHECK(r->first_rx_ring == 0 && r->last_rx_ring == 1 && r->first_tx_ring > r->last_tx_ring);
	CHECK(one->first_tx_ring == 1 && one->last_tx_ring == 1);
	CHECK(one->first_rx_ring == 1 && one->last_rx_ring == 1 && one->cur_tx_ring == 1);
	make_packet(60, 1);
	CHECK(nmport_inject(r, packet, 60) == 0);
	CHECK(nmport_inject(t, packet, 60) == 60);
	CHECK(t->mem == r->mem && r->mem == one->mem && t->mem->refcount == 3);
	nmport_close(t);
	nmport_close(r);
	nmport_close(one);
}

static void
case_null_port(void)
{
	struct nmport_d *d = nmport_prepare("netmap:nothing@1");

	CHECK(d != NULL);
	d->reg.nr_mode = NR_REG_NULL;
	CHECK(nmport_open_desc(d) == 0);
	CHECK(d->mem->refcount == 1);
	CHECK(d->first_tx_ring > d->last_tx_ring && d->first_rx_ring > d->last_rx_ring);
	make_packet(60, 1);
	CHECK(nmport_inject(d, packet, 60) == 0);
	nmport_close(d);
}

static void
case_pipe(void)
{
	struct nmport_d *m = must_open("netmap:p{1"), *s = must_open("netmap:p}1"), *d;
	struct netmap_ring *tx, *rx;
	uint32_t idx;

	CHECK(m->mem == s->mem && m->mem->refcount == 2 && nmctx_get()->mem_descs == m->mem);
	CHECK(m->nifp != s->nifp && m->reg.nr_mem_id == s->reg.nr_mem_id);
	make_packet(60, 1);
	CHECK(nmport_inject(m, packet, 60) == 60);
	sync_tx(m);
	expect_packet(s, 60, 1);
	make_packet(1000, 2);
	CHECK(nmport_inject(s, packet, 1000) == 1000);
	sync_tx(s);
	expect_packet(m, 1000, 1);

	/* the region is one: buffers can change hands without a copy */
	tx = NETMAP_TXRING(m->nifp, m->first_tx_ring);
	rx = NETMAP_RXRING(s->nifp, s->first_rx_ring);
	CHECK(NETMAP_BUF(tx, 5) == NETMAP_BUF(rx, 5));
	idx = tx->slot[tx->cur].buf_idx;
	tx->slot[tx->cur].buf_idx = rx->slot[rx->cur].buf_idx;
	rx->slot[rx->cur].buf_idx = idx;
	tx->slot[tx->cur].flags = rx->slot[rx->cur].flags = NS_BUF_CHANGED;

	/* the mapping stays until its last user is gone, in either order */
	nmport_close(m);
	CHECK(mapped(s->mem->mem) && s->mem->refcount == 1);
	d = must_open("netmap:p{1");
	CHECK(d->mem == s->mem && s->mem->refcount == 2);
	nmport_close(s);
	CHECK(mapped(d->mem->mem) && d->mem->refcount == 1);
	CHECK(nmport_inject(d, packet, 60) == 60);
	nmport_close(d);
	CHECK(nmctx_get()->mem_descs == NULL);
}

static void
case_clone(void)
{
	struct nmport_d *d = nmport_prepare("vale0:a-0@conf:rings=2"), *c, *e;

	CHECK(d != NULL);
	c = nmport_clone(d);
	CHECK(c != NULL && nmport_open_desc(d) == 0 && d->reg.nr_tx_rings == 2);
	c->reg.nr_ringid = 1;
	CHECK(nmport_open_desc(c) == 0);
	CHECK(c->fd != d->fd && c->mem == d->mem && d->mem->refcount == 2);
	CHECK(d->first_tx_ring == 0 && d->last_tx_ring == 0);
	CHECK(c->first_tx_ring == 1 && c->last_tx_ring == 1);
	/* of an open port: its memory is asked for by number */
	e = nmport_clone(c);
	CHECK(e != NULL && e->fd == -1 && e->mem == NULL && e->nifp == NULL && !e->register_done);
	CHECK(e->reg.nr_mem_id == d->reg.nr_mem_id && e->reg.nr_ringid == 1);
	nmport_close(d);
	nmport_close(c);
	CHECK(nmctx_get()->mem_descs == NULL);
	nmport_close(e);
}

static void
case_share(void)
{
	struct nmport_d *a = must_open("vale0:a"), *b = must_open("vale1:b@share=vale0:a"), *c;
	const char *name = "vale0:a}7/x@conf:rings=1";
	char text[64];

	CHECK(b->reg.nr_mem_id == a->reg.nr_mem_id && a->mem == b->mem && a->mem->refcount == 2);
	snprintf(text, sizeof(text), "vale1:c@%d", a->reg.nr_mem_id);
	c = must_open(text);
	CHECK(c->mem == a->mem && a->mem->refcount == 3);
	nmport_close(c);
	snprintf(text, sizeof(text), "vale1:c@%d@share=vale0:a", a->reg.nr_mem_id);
	nmport_close(must_open(text));
	snprintf(text, sizeof(text), "vale1:c@%d@share=vale0:a", a->reg.nr_mem_id + 1);
	CHECK(nmport_open(text) == NULL && errno == EINVAL && said("share"));

	name = "vale0:a/x@conf:rings=1";
	CHECK(nmreq_get_mem_id(&name, nmctx_get()) == a->reg.nr_mem_id);
	CHECK(strcmp(name, "/x@conf:rings=1") == 0);
	name = "netmap:no-such-port/x";
	CHECK(nmreq_get_mem_id(&name, nmctx_get()) == -1 && errno == ENXIO && said("'no'"));
	CHECK(strcmp(name, "netmap:no-such-port/x") == 0);
	CHECK(nmport_open("vale1:c@share=netmap:nobody") == NULL && errno == ENXIO && said("'nobody'"));
	nmport_close(a);
	nmport_close(b);
	CHECK(nmctx_get()->mem_descs == NULL);
}

static void
case_regions(void)
{
	/* a port of a switch has a region of its own unless it shares one */
	struct nmport_d *a = must_open("vale0:a"), *b = must_open("vale0:b"), *c = must_open("vale0:c");
	struct nmport_d *e = must_open("vale0:d@share=vale0:b");

	CHECK(a->mem != b->mem && a->reg.nr_mem_id != b->reg.nr_mem_id);
	CHECK(e->mem == b->mem && b->mem->refcount == 2);
	/* the list: newest first, and it closes up */
	CHECK(nmctx_get()->mem_descs == c->mem && c->mem->next == b->mem && b->mem->next == a->mem);
	CHECK(a->mem->prev == b->mem && b->mem->prev == c->mem && c->mem->prev == NULL);
	nmport_close(b);
	CHECK(c->mem->next == e->mem);
	nmport_close(e);
	CHECK(c->mem->next == a->mem && a->mem->prev == c->mem);
	nmport_close(c);
	CHECK(nmctx_get()->mem_descs == a->mem && a->mem->prev == NULL);
	nmport_close(a);
	CHECK(nmctx_get()->mem_descs == NULL);
}

static void
case_extra_buffers(void)
{
	struct nmport_d *d = nmport_prepare("vale0:a");
	struct netmap_ring *ring;
	uint32_t idx, n = 0;

	CHECK(d != NULL);
	d->reg.nr_extra_bufs = 7;
	CHECK(nmport_open_desc(d) == 0 && d->reg.nr_extra_bufs == 7);
	ring = NETMAP_TXRING(d->nifp, 0);
	for (idx = d->nifp->ni_bufs_head; idx != 0; n++)
		memcpy(&idx, NETMAP_BUF(ring, idx), sizeof(idx));
	CHECK(n == 7);
	nmport_close(d);
}

static void
case_extmem(void)
{
	struct nmport_d *d = nmport_prepare("vale0:a"), *c;
	size_t size = 64 << 20;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(d != NULL && memory != MAP_FAILED);
	CHECK(nmport_extmem(d, memory, size) == 0);
	nmport_extmem_getinfo(d)->nr_buf_pool_objtotal = 4096;
	CHECK(nmport_open_desc(d) == 0);
	CHECK(d->mem->is_extmem && d->mem->mem == memory && d->mem->size == size);
	CHECK(nmport_extmem_getinfo(d)->nr_buf_pool_objtotal >= 4096);
	CHECK((char *)d->nifp >= (char *)memory && (char *)d->nifp < (char *)memory + size);
	CHECK(nmport_extmem(d, memory, size) == -1 && errno == EINVAL && said("registered"));
	make_packet(60, 1);
	CHECK(nmport_inject(d, packet, 60) == 60);
	c = nmport_clone(d);
	CHECK(c != NULL && c->extmem == NULL && nmport_open_desc(c) == 0 && c->mem == d->mem);
	nmport_close(c);
	nmport_close(d);
	CHECK(mapped(memory) && nmctx_get()->mem_descs == NULL);
}

static void
case_offset(void)
{
	struct nmport_d *d, *b;

	CHECK(nmport_enable_option("offset") == 0);
	d = must_open("vale0:a@offset=128");
	CHECK(NETMAP_TXRING(d->nifp, 0)->offset_mask != 0);
	CHECK(NETMAP_ROFFSET(NETMAP_TXRING(d->nifp, 0), &NETMAP_TXRING(d->nifp, 0)->slot[0]) == 128);
	b = must_open("vale0:b");
	make_packet(3000, 1);
	CHECK(nmport_inject(d, packet, 3000) == 3000);
	CHECK(NETMAP_TXRING(d->nifp, 0)->slot[0].len == 2048 - 128);
	sync_tx(d);
	expect_packet(b, 3000, 2);
	nmport_close(b);
	nmport_close(d);
}

static void
case_errors(void)
{
	struct nmport_d *d = must_open("vale0:a"), *x;

	CHECK(nmport_register(d) == -1 && errno == EINVAL && said("vale0:a"));
	CHECK(nmport_mmap(d) == -1 && errno == EINVAL && said("vale0:a"));
	CHECK(d->fd >= 0 && d->register_done && d->mmap_done && d->mem->refcount == 1);
	CHECK(nmport_open("vale0:a-5") == NULL && errno == EINVAL && said("vale0:a"));
	CHECK(nmport_open("netmap:no-such-interface") == NULL && errno != 0 && said("netmap:no-such-interface") );
	x = nmport_open("vale0:b/x");
	CHECK(x != NULL);
	CHECK(nmport_open("vale0:b") == NULL && errno == EBUSY && said("vale0:b"));
	nmport_close(x);
	/* what fails can be tried again */
	x = nmport_prepare("vale0:c-5@share=vale0:a");
	CHECK(x != NULL && nmport_open_desc(x) == -1 && x->fd == -1 && !x->register_done && said("vale0:c"));
	x->reg.nr_ringid = 0;
	CHECK(nmport_open_desc(x) == 0);
	/* step by step, and back */
	nmport_undo_mmap(x);
	CHECK(x->mem == NULL && x->nifp == NULL && !x->mmap_done && x->register_done);
	CHECK(nmport_mmap(x) == 0 && x->mem == d->mem);
	nmport_undo_open_desc(x);
	CHECK(x->fd == -1 && !x->register_done && x->mem == NULL);
	nmport_undo_mmap(x);
	nmport_undo_register(x);
	nmport_undo_prepare(x);
	nmport_close(d);
	CHECK(nmctx_get()->mem_descs == NULL && sentences == 0);
}

static void *
open_and_close(void *argument)
{
	const char *name = (const char *)argument;
	int i;

	for (i = 0; i < 400; i++) {
		struct nmport_d *d = nmport_open(name);

		if (d == NULL || d->mem->refcount < 1 || !mapped(d->mem->mem))
			return argument;
		nmport_close(d);
	}
	return NULL;
}

static void
case_threads(void)
{
	static char names[4][32];
	pthread_t threads[4];
	struct nmport_d *d = must_open("vale0:keeper");
	void *failed;
	int i;

	for (i = 0; i < 4; i++) {
		snprintf(names[i], sizeof(names[i]), "vale0:t%d", i);
		if (i < 3)
			snprintf(names[i] + strlen(names[i]), 8, "@%d", d->reg.nr_mem_id);
		CHECK(pthread_create(&threads[i], NULL, open_and_close, names[i]) == 0);
	}
	for (i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], &failed) == 0 && failed == NULL);
	CHECK(d->mem->refcount == 1);
	nmport_close(d);
	CHECK(nmctx_get()->mem_descs == NULL);
}

static void
case_no_device(void)
{
	const char *name = "vale0:a";
	struct nmport_d *d = nmport_prepare(name);
	int error;

	CHECK(d != NULL && sentences == 0);
	CHECK(nmport_register(d) == -1 && d->fd == -1 && !d->register_done);
	error = errno;
	CHECK((error == ENOENT || error == EACCES || error == ENXIO) && said("/dev/netmap"));
	CHECK(nmreq_get_mem_id(&name, nmctx_get()) == -1 && errno == error && said("/dev/netmap"));
	nmport_close(d);
}

static const struct test_case cases[] = {
	{ "open", case_open },
	{ "inject", case_inject },
	{ "inject-nothing", case_inject_nothing },
	{ "ring-of-several", case_ring_of_several },
	{ "one-direction", case_one_direction },
	{ "null-port", case_null_port },
	{ "pipe", case_pipe },
	{ "clone", case_clone },
	{ "share", case_share },
	{ "regions", case_regions },
	{ "extra-buffers", case_extra_buffers },
	{ "extmem", case_extmem },
	{ "offset", case_offset },
	{ "errors", case_errors },
	{ "threads", case_threads },
	{ "no-device", case_no_device },
};

int
main(int argc, char **argv)
{
	nmctx_get()->error = remember;
	return run_cases(argc, argv, cases, COUNT(cases));
}
