/* Wrong ring pointers on pipes: what sync and poll make of them, for both ends and all states. */
#include "scenario.h"

#define KEEP 0xffffffffu

/* `packets` are sent and, for the rx side, received first; then head, cur and tail are overwritten. */
static const struct {
	const char *key;
	int rx;
	unsigned packets, head, cur, tail;
} wrong[] = {
	{ "tx_right", 0, 0, 3, 3, KEEP }, { "tx_cur_ahead", 0, 0, 3, 5, KEEP }, { "tx_cur_only", 0, 0, 0, 5, KEEP },
	{ "tx_all", 0, 0, 15, 15, KEEP }, { "tx_head_is_n", 0, 0, 16, 16, KEEP },
	{ "tx_huge", 0, 0, 0xfffffff0, 0xfffffff0, KEEP },
	{ "tx_cur_behind", 0, 0, 5, 3, KEEP }, { "tx_cur_is_n", 0, 0, 0, 16, KEEP }, { "tx_back", 0, 10, 5, 5, KEEP },
	{ "tx_beyond_tail", 0, 10, 2, 2, KEEP }, { "tx_tail_changed", 0, 0, 1, 1, 9 }, { "tx_tail_huge", 0, 0, 1, 1, 5000 },
	{ "tx_tail_and_head", 0, 0, 16, 16, 5000 },
	{ "rx_right", 1, 3, 3, 3, KEEP }, { "rx_part", 1, 3, 1, 2, KEEP }, { "rx_hold", 1, 3, 0, 3, KEEP },
	{ "rx_nothing_there", 1, 0, 5, 5, KEEP }, { "rx_head_is_n", 1, 0, 16, 16, KEEP },
	{ "rx_huge", 1, 3, 0xfffffff0, 0, KEEP },
	{ "rx_cur_behind", 1, 3, 2, 1, KEEP }, { "rx_beyond_tail", 1, 3, 4, 4, KEEP },
	{ "rx_cur_beyond_tail", 1, 3, 0, 4, KEEP },
	{ "rx_back", 1, 3, 15, 15, KEEP }, { "rx_tail_changed", 1, 3, 3, 3, 7 }, { "rx_tail_and_head", 1, 3, 5, 5, 7 },
	{ "rx_cur_is_n", 1, 3, 0, 16, KEEP },
};

static void with(int by_poll)
{
	char name[32], key[64];
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		snprintf(name, sizeof name, "hp{%d%zu", by_poll, i);
		MUST_OPEN(a, name, .nr_tx_slots = 16, .nr_rx_slots = 16);
		*strchr(name, '{') = '}';
		MUST_OPEN(b, name);
		for (unsigned j = 0; j < wrong[i].packets; j++)
			put(&a, (int)j);
		txsync(&a);
		if (wrong[i].rx)
			rxsync(&b);
		struct port *port = wrong[i].rx ? &b : &a;
		struct netmap_ring *ring = wrong[i].rx ? rxring(&b, 0) : txring(&a, 0);
		ring->head = wrong[i].head;
		ring->cur = wrong[i].cur;
		if (wrong[i].tail != KEEP)
			ring->tail = wrong[i].tail;
		int events = wrong[i].rx ? POLLIN : POLLOUT, used;
		char text[256];
		if (by_poll)
			used = snprintf(text, sizeof text, "%s", poll_result(port->fd, events, 0));
		else
			used = snprintf(text, sizeof text, "%s", error_name(wrong[i].rx ? rxsync(port) : txsync(port)));
		used += snprintf(text + used, sizeof text - (size_t)used, " %u,%u,%u", ring->head, ring->cur, ring->tail);
		int error = wrong[i].rx ? rxsync(port) : txsync(port);
		used += snprintf(text + used, sizeof text - (size_t)used, " %s %u,%u,%u", error_name(error), ring->head, ring->cur,
			ring->tail);
		used += snprintf(text + used, sizeof text - (size_t)used, " %s", poll_result(port->fd, events, 0));
		used += snprintf(text + used, sizeof text - (size_t)used, " %u,%u,%u", ring->head, ring->cur, ring->tail);
		rxsync(&b);
		txsync(&a);
		snprintf(text + used, sizeof text - (size_t)used, " b %u,%u,%u a %u,%u,%u", rxring(&b, 0)->head, rxring(&b, 0)->cur,
			rxring(&b, 0)->tail, txring(&a, 0)->head, txring(&a, 0)->cur, txring(&a, 0)->tail);
		snprintf(key, sizeof key, "%s", wrong[i].key);
		fact(key, "%s", text);
		close_port(&a);
		close_port(&b);
	}
}

static void by_sync(void) { with(0); }
static void by_poll(void) { with(1); }

SCENARIO("switch", "wrong ring pointers on pipes", { "by_sync", by_sync }, { "by_poll", by_poll })
