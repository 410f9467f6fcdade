/*
 * Which loaded object an address is in, and where its table of frames is: the function of glibc 2.35 that the unwinder
 * of GCC 12 and later calls. Linked into files for an older glibc (scripts/build-for.sh), and seen by nothing else.
 */
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>
#include <stdint.h>

/* As the unwinder has it on machines where tables of frames need no base: x86-64, aarch64. */
struct found {
	unsigned long long flags;
	void *start, *end;
	struct link_map *map;
	void *frames;
	unsigned long long reserved[7];
};

struct sought {
	uintptr_t address;
	struct found *found;
};

static int is_in(struct dl_phdr_info *object, size_t size, void *argument)
{
	struct sought *sought = argument;
	uintptr_t low = UINTPTR_MAX, high = 0, frames = 0;
	int is_it = 0;

	(void)size;
	for (unsigned i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		uintptr_t start = object->dlpi_addr + segment->p_vaddr;
		uintptr_t end = start + segment->p_memsz;
		if (segment->p_type == PT_GNU_EH_FRAME)
			frames = start;
		if (segment->p_type != PT_LOAD)
			continue;
		low = start < low ? start : low;
		high = end > high ? end : high;
		is_it |= sought->address >= start && sought->address < end;
	}
	if (!is_it)
		return 0;
	if (frames != 0)
		*sought->found = (struct found){
			.start = (void *)low, .end = (void *)high, .frames = (void *)frames,
		};
	return frames != 0 ? 1 : -1;
}

/* By another name in C: newer headers declare it. */
__attribute__((visibility("hidden"))) int find_object(void *address, struct found *found) __asm__("_dl_find_object");

int find_object(void *address, struct found *found)
{
	struct sought sought = { (uintptr_t)address, found };
	return dl_iterate_phdr(is_in, &sought) == 1 ? 0 : -1;
}
