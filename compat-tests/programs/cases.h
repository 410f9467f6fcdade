/*
 * A program of cases: PROGRAM CASE runs one, with "ok CASE" at the end; PROGRAM --list names all. C and C++.
 */
#ifndef CASES_H
#define CASES_H

#include <stdio.h>
#include <string.h>

struct test_case {
	const char *name;
	void (*run)(void);
};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* The result of main. */
static inline int run_cases(int argc, char **argv, const struct test_case *cases, size_t n)
{
	int list = argc == 2 && strcmp(argv[1], "--list") == 0;

	for (size_t i = 0; i < n; i++) {
		if (list) {
			printf("%s\n", cases[i].name);
		} else if (argc == 2 && strcmp(argv[1], cases[i].name) == 0) {
			cases[i].run();
			printf("ok %s\n", cases[i].name);
			return 0;
		}
	}
	if (!list)
		fprintf(stderr, "usage: %s --list | CASE\n", argv[0]);
	return list ? 0 : 2;
}

#endif
