/*
 * What a program may do to whoever serves it.
 *
 *   lives binds PORT   binds it for itself alone, and ends without a close
 */
#include "../robust/robust.h"

static int binds(const char *name)
{
	struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC, .nr_flags = NR_EXCLUSIVE };
	int fd = open("/dev/netmap", O_RDWR);
	CHECK(fd >= 0);
	errno = bind_to(fd, name, &reg);
	CHECK(errno == 0);
	say("bound");
	return 0;
}

int main(int argc, char **argv)
{
	CHECK(argc > 1);
	if (strcmp(argv[1], "binds") == 0 && argc == 3)
		return binds(argv[2]);
	say("%s is no part", argv[1]);
	return 2;
}
