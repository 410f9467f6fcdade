/* The directory of parameters through the C library's functions. */
#include "robust.h"

#include <dirent.h>
#include <glob.h>
#include <sys/stat.h>

#define DIR_OF_PARAMETERS "/sys/module/netmap/parameters"

static int buffers_only(const struct dirent *entry)
{
	return strncmp(entry->d_name, "buf_", 4) == 0;
}

/* Names in a stream from where it stands. */
static int count(DIR *dir)
{
	int n = 0;
	while (readdir(dir) != NULL)
		n++;
	return n;
}

static int no_error(const char *path, int error)
{
	say("glob: %s: %s", path, strerror(error));
	return 1;
}

int main(void)
{
	DIR *dir = opendir(DIR_OF_PARAMETERS);
	CHECK(dir != NULL);
	int n = count(dir);
	CHECK(n > 22);
	rewinddir(dir);
	readdir(dir);
	readdir(dir);
	long third = telldir(dir);
	char name[256];
	strcpy(name, readdir(dir)->d_name);
	CHECK(count(dir) == n - 3);
	seekdir(dir, third);
	struct dirent *entry = readdir(dir);
	struct stat by_name, by_descriptor;
	CHECK(strcmp(entry->d_name, name) == 0 && entry->d_type == DT_REG);
	CHECK(fstatat(dirfd(dir), name, &by_name, 0) == 0 && by_name.st_ino == entry->d_ino);
	int file = openat(dirfd(dir), name, O_RDONLY);
	CHECK(fstat(file, &by_descriptor) == 0 && by_descriptor.st_ino == entry->d_ino);
	CHECK(S_ISREG(by_descriptor.st_mode) && by_descriptor.st_dev == by_name.st_dev);
	CHECK(lseek(file, 0, SEEK_DATA) == -1 && errno == EINVAL && lseek(file, 0, SEEK_SET) == 0);
	CHECK(faccessat(dirfd(dir), name, R_OK, 0) == 0);
	CHECK(faccessat(dirfd(dir), "nothing", R_OK, 0) == -1 && errno == ENOENT);
	CHECK(openat(dirfd(dir), "../parameters/nothing", O_RDONLY) == -1 && errno == ENOENT);
	int own = dirfd(dir);
	CHECK(closedir(dir) == 0 && fcntl(own, F_GETFD) == -1);

	/* by a descriptor, and beside an ordinary stream */
	int fd = open("/sys/module/netmap/", O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0 && (dir = fdopendir(fd)) != NULL);
	DIR *root = opendir("/");
	CHECK(root != NULL && readdir(root) != NULL && count(dir) == 3 && count(root) > 0);
	CHECK(closedir(root) == 0 && closedir(dir) == 0);
	CHECK(opendir(DIR_OF_PARAMETERS "/buf_num") == NULL && errno == ENOTDIR);
	CHECK(opendir("/sys/module/netmap/nothing") == NULL && errno == ENOENT);
	CHECK(open(DIR_OF_PARAMETERS, O_RDWR) == -1 && errno == EISDIR);

	struct dirent **list;
	int found = scandir(DIR_OF_PARAMETERS, &list, buffers_only, alphasort);
	CHECK(found > 3);
	for (int i = 0; i < found; i++) {
		CHECK(i == 0 || strcmp(list[i - 1]->d_name, list[i]->d_name) < 0);
		free(list[i]);
	}
	free(list);
	CHECK(scandir(DIR_OF_PARAMETERS, &list, NULL, NULL) == n);
	CHECK(scandir("/sys/module/netmap/nothing", &list, NULL, NULL) == -1 && errno == ENOENT);

	glob_t all;
	CHECK(glob(DIR_OF_PARAMETERS "/buf_*", 0, no_error, &all) == 0 && (int)all.gl_pathc == found);
	CHECK(strncmp(all.gl_pathv[0], DIR_OF_PARAMETERS "/buf_", strlen(DIR_OF_PARAMETERS "/buf_")) == 0);
	CHECK(glob("/dev/nul*", GLOB_APPEND, no_error, &all) == 0 && (int)all.gl_pathc == found + 1);
	globfree(&all);
	CHECK(glob("/sys/module/netmap/p*/*_num", 0, no_error, &all) == 0 && all.gl_pathc >= 3);
	globfree(&all);
	char *real = realpath("/dev/netmap", NULL);
	CHECK(real != NULL && strcmp(real, "/dev/netmap") == 0);
	free(real);
	say("ok");
	return 0;
}
