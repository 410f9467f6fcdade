/*
 * Does what it is told, a line at a time, and says "done" after each.
 *
 *   open PREFIX N     opens N ports PREFIX0, PREFIX1, ... as they are by default
 *   send I N          N broadcasts from port I, one by one; all others of its switch take each of them
 *   lock              mlockall of what is mapped, and of what will be
 *   close             closes all ports
 *   end               ends
 *
 * Status 3 if memory cannot be locked.
 */
#include "robust.h"

#define MOST 64

static struct port ports[MOST];
static unsigned count;

static void open_ports(const char *prefix, unsigned n)
{
	char name[64];

	CHECK(count + n <= MOST);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "%s%u", prefix, i);
		ports[count++] = open_port(name);
	}
}

static void send_from(unsigned from, unsigned n)
{
	static uint64_t seq;
	struct seen seen;

	CHECK(from < count);
	memset(&seen, 0, sizeof seen);
	while (n-- > 0) {
		send_one(&ports[from], 0xff, 1, &seq);
		for (unsigned i = 0; i < count; i++)
			if (i != from)
				take_now(&ports[i], &seen);
	}
}

static void lock(void)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
		say("no-lock errno=%d", errno);
		_exit(3);
	}
}

int main(void)
{
	char line[128], prefix[32];
	unsigned a, b;

	say("ready");
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "open %31s %u", prefix, &a) == 2)
			open_ports(prefix, a);
		else if (sscanf(line, "send %u %u", &a, &b) == 2)
			send_from(a, b);
		else if (strncmp(line, "lock", 4) == 0)
			lock();
		else if (strncmp(line, "close", 5) == 0)
			while (count > 0)
				close_port(&ports[--count]);
		else if (strncmp(line, "end", 3) == 0)
			return 0;
		else
			CHECK(!"a line that is known");
		say("done");
	}
	return 0;
}
