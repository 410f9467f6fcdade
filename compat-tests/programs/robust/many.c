/*
 * Many ports at once.
 *
 *   many SWITCHES PORTS    opens PORTS ports on each of SWITCHES switches, sends one broadcast on each switch and
 *                          checks that every other port of it, and no other, receives it. Then holds them all
 *                          until FILE "go" named by GO= in the environment exists, and closes them.
 *
 * "switch=N ports=N us=N": microseconds for the ports of a switch.
 */
#include "robust.h"

static uint64_t microseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* The errno of one port more, which is closed again. */
static int open_more(const char *name)
{
	struct port p;
	memset(&p, 0, sizeof p);
	int e = try_port(&p, name, 0);
	if (e == 0)
		close_port(&p);
	return e;
}

int main(int argc, char **argv)
{
	CHECK(argc == 3);
	unsigned switches = (unsigned)atoi(argv[1]), ports = (unsigned)atoi(argv[2]);
	struct port *p = calloc((size_t)switches * ports, sizeof *p);
	CHECK(p != NULL);
	for (unsigned s = 0; s < switches; s++) {
		uint64_t start = microseconds();
		for (unsigned i = 0; i < ports; i++) {
			char name[32];
			snprintf(name, sizeof name, "vale%u:p%u", s, i);
			p[s * ports + i] = open_port(name);
		}
		say("switch=%u ports=%u us=%llu", s, ports, (unsigned long long)(microseconds() - start));
	}
	for (unsigned s = 0; s < switches; s++) {
		uint64_t seq = s;
		send_one(&p[s * ports + s % ports], 0xff, s, &seq);
	}
	for (unsigned s = 0; s < switches; s++) {
		for (unsigned i = 0; i < ports; i++) {
			struct seen seen;
			memset(&seen, 0, sizeof seen);
			take_now(&p[s * ports + i], &seen);
			CHECK(seen.packets == (i != s % ports));
			CHECK(seen.packets == 0 || seen.next[s] == s + 1);
		}
	}
	say("one-more errno=%d", open_more("vale0:more"));
	say("switch-more errno=%d", open_more("valemore:p"));
	say("ready pid=%d", (int)getpid());
	while (access(getenv("GO"), F_OK) != 0)
		usleep(2000);
	for (unsigned i = 0; i < switches * ports; i++)
		close_port(&p[i]);
	return 0;
}
