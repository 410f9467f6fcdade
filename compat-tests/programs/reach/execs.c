/*
 * Executes a program by one of the C library's functions, with more arguments than travel in registers, the last "0".
 *
 *   execs HOW PROGRAM   HOW is execl, execle, execlp, fexecve, execveat, opened or relative (execveat, too)
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST "a", "b", "c", "d", "e", "f", "g", "0", (char *)NULL

extern char **environ;

/* glibc has it from 2.34 on, and the shim always */
extern int execveat(int, const char *, char *const *, char *const *, int) __attribute__((weak));

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	const char *how = argv[1], *program = argv[2];
	char *list[] = { argv[2], LIST };
	char folder[4096];

	if (strcmp(how, "execl") == 0)
		execl(program, program, LIST);
	if (strcmp(how, "execle") == 0)
		execle(program, program, LIST, environ);
	if (strcmp(how, "execlp") == 0)
		execlp(program, program, LIST);
	if (strcmp(how, "fexecve") == 0)
		fexecve(open(program, O_RDONLY), list, environ);
	if (strcmp(how, "execveat") == 0)
		execveat(AT_FDCWD, program, list, environ, 0);
	if (strcmp(how, "opened") == 0)
		execveat(open(program, O_RDONLY), "", list, environ, AT_EMPTY_PATH);
	if (strcmp(how, "relative") == 0) {
		snprintf(folder, sizeof folder, "%s", program);
		char *slash = strrchr(folder, '/');
		*slash = 0;
		execveat(open(folder, O_RDONLY), slash + 1, list, environ, 0);
	}
	perror(how);
	return 126;
}
