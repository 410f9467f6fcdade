/*
 * TCP between hosts: 10 MB each way at the same time, and a hash of what was sent and of what came.
 *
 *   transfer serve ADDRESS           says "ready port=N", takes one call
 *   transfer call ADDRESS PORT
 *   transfer offloads INTERFACE      says what the interface does for the host there: checksums, large packets
 */
#include "../robust/robust.h"
#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>

#define BYTES (10u << 20)
#define PART 65536

static uint64_t hash(uint64_t so_far, const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		so_far = (so_far ^ data[i]) * 1099511628211u;
	return so_far;
}

/* Bytes that do not repeat soon, others for each seed. The hash of all. */
static uint64_t send_all(int fd, uint64_t seed)
{
	static uint8_t part[PART];
	uint64_t sum = 0, x = seed;

	for (unsigned sent = 0; sent < BYTES; sent += PART) {
		for (size_t i = 0; i < PART; i++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			part[i] = (uint8_t)(x >> 56);
		}
		sum = hash(sum, part, PART);
		for (size_t done = 0; done < PART;) {
			ssize_t n = send(fd, part + done, PART - done, MSG_NOSIGNAL);
			CHECK(n > 0);
			done += (size_t)n;
		}
	}
	CHECK(shutdown(fd, SHUT_WR) == 0);
	return sum;
}

static void exchange(int fd, uint64_t seed)
{
	static uint8_t part[PART];
	unsigned got = 0;
	uint64_t sum = 0;
	ssize_t n;
	pid_t sender = fork();

	CHECK(sender >= 0);
	if (sender == 0) {
		say("sent=%llu", (unsigned long long)send_all(fd, seed));
		_exit(0);
	}
	while ((n = recv(fd, part, PART, 0)) > 0) {
		sum = hash(sum, part, (size_t)n);
		got += (unsigned)n;
	}
	CHECK(n == 0 && got == BYTES);
	wait_child(sender);
	say("got=%llu", (unsigned long long)sum);
}

static unsigned offload(int fd, const char *interface, unsigned which)
{
	struct ethtool_value value = { .cmd = which };
	struct ifreq request = { .ifr_data = (char *)&value };

	strncpy(request.ifr_name, interface, sizeof request.ifr_name - 1);
	CHECK(ioctl(fd, SIOCETHTOOL, &request) == 0);
	return value.data;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && argc >= 3);
	if (strcmp(argv[1], "offloads") == 0) {
		say("checksums=%u tso=%u gso=%u gro=%u", offload(fd, argv[2], ETHTOOL_GTXCSUM),
		    offload(fd, argv[2], ETHTOOL_GTSO), offload(fd, argv[2], ETHTOOL_GGSO),
		    offload(fd, argv[2], ETHTOOL_GGRO));
		return 0;
	}
	CHECK(inet_pton(AF_INET, argv[2], &address.sin_addr) == 1);
	if (strcmp(argv[1], "serve") == 0) {
		CHECK(bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, 1) == 0);
		CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
		say("ready port=%u", ntohs(address.sin_port));
		fd = accept(fd, NULL, NULL);
		CHECK(fd >= 0);
		exchange(fd, 1);
		return 0;
	}
	CHECK(argc == 4);
	address.sin_port = htons((uint16_t)atoi(argv[3]));
	CHECK(connect(fd, (struct sockaddr *)&address, length) == 0);
	exchange(fd, 2);
	return 0;
}
