/*
 * ping ADDRESS          asks the host there until it answers, once a quarter of a second; "answer" then
 * ping ADDRESS N        asks N times, once each, and waits for each answer
 * ping ADDRESS N send   asks N times and waits for nothing
 *
 * It is killed by who does not want to wait any longer.
 */
#include "../robust/robust.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

static uint16_t checksum(const void *data, size_t length)
{
	const uint16_t *word = data;
	uint32_t sum = 0;

	for (; length > 1; length -= 2)
		sum += *word++;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Is it the answer to a question of ours? Its number then, else -1. */
static int answered(const unsigned char *packet, size_t length)
{
	size_t header = (size_t)(packet[0] & 15) * 4;
	struct icmphdr icmp;

	if (length < header + sizeof icmp)
		return -1;
	memcpy(&icmp, packet + header, sizeof icmp);
	if (icmp.type != ICMP_ECHOREPLY || icmp.un.echo.id != (uint16_t)getpid())
		return -1;
	return icmp.un.echo.sequence;
}

static void ask(int fd, const struct sockaddr_in *to, uint16_t number)
{
	struct icmphdr icmp = { .type = ICMP_ECHO, .un.echo = { .id = (uint16_t)getpid(), .sequence = number } };

	icmp.checksum = checksum(&icmp, sizeof icmp);
	sendto(fd, &icmp, sizeof icmp, 0, (const struct sockaddr *)to, sizeof *to);
}

/* Waits for the answer to a question, `patience` ms for each packet. */
static int hears(int fd, int number, int patience)
{
	while (poll_now(fd, POLLIN, patience) == POLLIN) {
		unsigned char packet[256];
		ssize_t length = recv(fd, packet, sizeof packet, 0);
		int got = length > 0 ? answered(packet, (size_t)length) : -1;

		if (got >= 0 && (number < 0 || got == number))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);

	CHECK(fd >= 0 && argc >= 2 && inet_pton(AF_INET, argv[1], &to.sin_addr) == 1);
	if (argc == 2) {
		uint16_t n = 0;
		do
			ask(fd, &to, n++);
		while (!hears(fd, -1, 250));
		say("answer n=%u", n - 1u);
		return 0;
	}
	for (int n = 0; n < atoi(argv[2]); n++) {
		ask(fd, &to, (uint16_t)n);
		CHECK(argc == 4 || hears(fd, n, NEVER));
	}
	say("asked n=%s", argv[2]);
	return 0;
}
