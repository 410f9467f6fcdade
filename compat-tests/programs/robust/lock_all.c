/*
 * Locks its memory.
 *
 *   lock_all PORT first|then LIMIT    before the port, with rings of 64 slots, is opened, or then
 *   lock_all BYTES then LIMIT         maps so many bytes of an anonymous file in place of a port
 *
 * LIMIT is in bytes, 0: none. Prints "locked=N memory=N": kilobytes that count as locked, and bytes of the port's
 * memory. Status 2 if the port cannot be opened, 3 if the memory cannot be locked.
 */
#include "robust.h"
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static long locked_kb(void)
{
	char line[256];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "r");

	CHECK(f != NULL);
	while (fgets(line, sizeof line, f))
		sscanf(line, "VmLck: %ld", &kb);
	fclose(f);
	return kb;
}

/* From now on there is a limit, for the superuser as well. */
static void limit(rlim_t bytes)
{
	struct rlimit r = { bytes, bytes };
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	CHECK(setrlimit(RLIMIT_MEMLOCK, &r) == 0);
	CHECK(syscall(SYS_capget, &header, data) == 0);
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	CHECK(syscall(SYS_capset, &header, data) == 0);
}

static void lock_all(void)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
		say("FAILED mlockall: %s", strerror(errno));
		_exit(3);
	}
}

int main(int argc, char **argv)
{
	struct port p;
	size_t size;

	CHECK(argc == 4);
	int first = strcmp(argv[2], "first") == 0;
	if (atol(argv[3]) > 0)
		limit((rlim_t)atol(argv[3]));
	if (first)
		lock_all();
	size = strtoul(argv[1], NULL, 0);
	if (size > 0) {
		int fd = memfd_create("bytes", 0);
		CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
		CHECK(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
	} else {
		memset(&p, 0, sizeof p);
		p.reg.nr_tx_slots = p.reg.nr_rx_slots = 64;
		int e = try_port(&p, argv[1], 0);
		if (e != 0) {
			say("FAILED open: %s", strerror(e));
			_exit(2);
		}
		size = p.size;
	}
	if (!first)
		lock_all();
	say("locked=%ld memory=%zu", locked_kb(), size);
	return 0;
}
