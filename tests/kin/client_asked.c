/* SPDX-License-Identifier: MIT */
/* Whom the environment names: bezoard, the service manager. It has a say where the
 * program has no more rights than who has started it. */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kin.h"

static struct kin k;

/* Nothing of the tests' own works before main(). The file ends before what is read. */
static void shut_down(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int fd = memfd_create("cut", MFD_CLOEXEC);
	bez_region_t region;
	volatile char *at;

	if (fd < 0 || ftruncate(fd, (off_t)page))
		_exit(2);
	at = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	policy.actions[0] = BEZ_ACTION_SHUTDOWN;
	if (at == MAP_FAILED || bez_start(NULL) ||
	    bez_region_add((void *)at, page, &policy, &region) ||
	    ftruncate(fd, 0))
		_exit(3);
	_exit(4 + *at);
}

/* This program again, as somebody has started it. */
static void __attribute__((constructor)) as_started(void)
{
	struct bez_status s = { .size = sizeof(s) };
	const char *wanted = getenv("KIN_STARTED");

	if (!wanted)
		return;
	if (!!getauxval(AT_SECURE) != (*wanted == 's'))
		_exit(77);
	if (getenv("NOTIFY_SOCKET"))
		shut_down();
	_exit(bez_start(NULL) || bez_status(&s) ? 2 : s.kin ? 1 : 0);
}

static int started(const char *path, const char *as)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		setenv("KIN_STARTED", as, 1);
		setenv("BEZOAR_SOCKET", k.socket, 1);
		execl(path, path, (char *)NULL);
		_exit(98);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* How often a service manager that the environment names is told of its end. -1: it
 * is not as that should have started it. */
static int notices(const char *path, const char *as)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), status, n = 0;
	char text[512], name[64];
	pid_t pid;

	snprintf(name, sizeof(name), "@bezoar-kin-%s-%d", as, getpid());
	memcpy(to.sun_path + 1, name + 1, strlen(name) - 1);
	CHECK_EQ(bind(fd, (struct sockaddr *)&to,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				  strlen(name))), 0);
	pid = fork();
	if (!pid) {
		setenv("KIN_STARTED", as, 1);
		setenv("NOTIFY_SOCKET", name, 1);
		execl(path, path, (char *)NULL);
		_exit(98);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	while (recv(fd, text, sizeof(text), MSG_DONTWAIT) > 0)
		n++;
	close(fd);
	if (status == 77 << 8)
		return -1;
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%#x",
	       status);
	return n;
}

/* This program, as one with more rights than its caller has. */
static void make_secure(char path[96])
{
	char line[256];

	snprintf(path, 96, "%s/another", k.folder);
	snprintf(line, sizeof(line), "cp /proc/%d/exe %s", getpid(), path);
	CHECK_EQ(system(line), 0);
	if (chown(path, (uid_t)-1, getegid() + 1) || chmod(path, 02755))
		tap_skip("no file with another group here: %s",
			 strerror(errno));
}

static void notify(void)
{
	char path[96];
	int n;

	kin_make(&k);
	CHECK(notices("/proc/self/exe", "plainly") >= 1);
	make_secure(path);
	n = notices(path, "secure");
	if (n < 0)
		tap_skip("set-group-ID is ignored in /tmp");
	CHECK_EQ(n, 0);
	kin_end(&k);
}

/* The environment says where; not to a program that runs with more than its
 * caller's rights. */
static void environment(void)
{
	char path[96];
	int status;

	kin_make(&k);
	kin_start(&k, NULL);
	CHECK_EQ(started("/proc/self/exe", "plainly"), 1);
	make_secure(path);
	status = started(path, "secure");
	if (status == 77)
		tap_skip("set-group-ID is ignored in /tmp");
	CHECK_EQ(status, 0);
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "asked for by the environment", .run = environment },
	{ .name = "a manager that the environment names", .run = notify },
};
TAP_MAIN(cases)
