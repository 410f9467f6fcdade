/*
 * A scenario whose second case does not end by itself if the program is called `hangs` or `stuck`, and in the latter
 * not by its time limit either.
 */
#include "../../scenarios/scenario.h"

static int is_called(const char *name) { return !strcmp(program_invocation_short_name, name); }

static void before(void) { fact("x", "1"); }

static void waits(void)
{
	fact("x", "1");
	if (is_called("stuck"))
		signal(SIGALRM, SIG_IGN);
	while (is_called("stuck") || is_called("hangs"))
		pause();
	fact("y", "2");
	fact("z", "3");
}

static void after(void) { fact("x", "1"); }

SCENARIO("switch", "a case that hangs", { "before", before }, { "waits", waits }, { "after", after })
