/* SPDX-License-Identifier: MIT */
/* What this user, this container and this C library allow. */
#include "facts.h"

#include <bezoar/inject.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)	/* Linux 6.1 */
#endif
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

#define GROUP	"process"

/* -------------------------------------------------------------- userfaultfd */

/* A descriptor, or -1; *@ret_how: what it is good for. */
static int open_uffd(const char **ret_how)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC), dev;

	*ret_how = "all accesses";
	if (fd >= 0)
		return fd;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC);
		close(dev);
	}
	if (fd >= 0)
		return fd;
	*ret_how = "user accesses only (UFFD_USER_MODE_ONLY)";
	return (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
}

static void userfaultfd(struct facts *facts)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} features[] = {
		{ 4, "missing-hugetlbfs" }, { 5, "missing-shmem" },
		{ 7, "sigbus" }, { 11, "exact-address" }, { 14, "poison" },
		{ 16, "move" },
	};
	struct uffdio_api api = { .api = UFFD_API };
	const char *how;
	int fd = open_uffd(&how);
	char text[160] = "none";
	size_t i, len = 0;

	if (fd < 0) {
		fact_add(facts, GROUP, "userfaultfd", "pages are put in place "
			 "by mremap instead; losses can not be emulated",
			 "refused: %s", strerror(errno));
		return;
	}
	fact_add(facts, GROUP, "userfaultfd",
		 "\"user accesses only\": system calls do not wait for a "
		 "repair, but fail", "%s", how);
	if (!ioctl(fd, UFFDIO_API, &api)) {
		for (i = 0; i < sizeof(features) / sizeof(features[0]); i++)
			if (api.features & 1ull << features[i].bit)
				len += (size_t)sprintf(text + len, "%s%s",
						       len ? " " : "",
						       features[i].name);
		fact_add(facts, GROUP, "userfaultfd features",
			 "poison: losses can be emulated", "%s", text);
	}
	close(fd);
}

/* ---------------------------------------------------------------- container */

/* "max", or what version 1 has in its place: all that fits, in pages. */
static int no_limit(const char *line)
{
	return !strcmp(line, "max") || strtoull(line, NULL, 10) >> 60;
}

/* Of the cgroup that this process is in, as it sees it: version 2, or 1. */
static void cgroup(struct facts *facts)
{
	static const struct {
		const char *name, *file, *v1, *means;
	} limits[] = {
		{ "cgroup memory limit", "memory.max",
		  "memory/memory.limit_in_bytes",
		  "at the limit a fresh page can end the process" },
		{ "cgroup huge page limit", "hugetlb.2MB.max",
		  "hugetlb/hugetlb.2MB.limit_in_bytes",
		  "at the limit a huge page can not be replaced" },
	};
	char at[1024] = "", line[64], path[1200];
	size_t i;

	if (fact_line_of("/proc/self/cgroup", "0::", at, sizeof(at)))
		*at = '\0';
	for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s", at,
			 limits[i].file);
		if (fact_line(path, line, sizeof(line)))
			snprintf(path, sizeof(path), "/sys/fs/cgroup/%s",
				 limits[i].v1);
		if (!fact_line(path, line, sizeof(line)))
			fact_add(facts, GROUP, limits[i].name, limits[i].means,
				 "%s", no_limit(line) ? "none" : line);
		else
			fact_add(facts, GROUP, limits[i].name, limits[i].means,
				 "none is to be seen");
	}
}

static void rights(struct facts *facts)
{
	static const char *const modes[] = { "off", "strict", "a filter" };
	static const char status[] = "/proc/self/status";
	char line[64];
	unsigned long long caps;
	unsigned long mode;

	if (!fact_line_of(status, "Seccomp:", line, sizeof(line))) {
		mode = strtoul(line, NULL, 10);
		fact_add(facts, GROUP, "seccomp",
			 "a filter can refuse userfaultfd(2) and madvise(2)",
			 "%s", mode < 3 ? modes[mode] : line);
	}
	if (!fact_line_of(status, "CapEff:", line, sizeof(line))) {
		caps = strtoull(line, NULL, 16);
		fact_add(facts, GROUP, "capabilities",
			 "SYS_ADMIN: real poison; IPC_LOCK: memory is locked "
			 "without limit",
			 "%s (SYS_ADMIN %s, IPC_LOCK %s)", line,
			 caps >> 21 & 1 ? "yes" : "no",
			 caps >> 14 & 1 ? "yes" : "no");
	}
}

/* ------------------------------------------------------------------- limits */

static void limits(struct facts *facts)
{
	struct rlimit lock;

	getrlimit(RLIMIT_MEMLOCK, &lock);
	if (lock.rlim_cur == RLIM_INFINITY)
		fact_add(facts, GROUP, "RLIMIT_MEMLOCK", "locked memory has to "
			 "be locked again when it is replaced", "unlimited");
	else
		fact_add(facts, GROUP, "RLIMIT_MEMLOCK", "locked memory has to "
			 "be locked again when it is replaced", "%llu KiB",
			 (unsigned long long)lock.rlim_cur / 1024);
	fact_add(facts, GROUP, "signal frame", "an alternate stack takes at "
		 "least this", "%lu bytes", getauxval(AT_MINSIGSTKSZ));
}

/* --------------------------------------------------------------- the thread */

static void thread(struct facts *facts)
{
	char line[128];

	fact_add(facts, GROUP, "rseq",
		 "registered: a lost page of thread-local storage kills "
		 "(glibc.pthread.rseq=0)", "%s",
		 __rseq_size ? "registered" : "not registered");
	if (!fact_line_of("/proc/self/status", "x86_Thread_features:", line,
			  sizeof(line)))
		fact_add(facts, GROUP, "shadow stack",
			 "where it is on, jumps out of a loss were not tried",
			 "%s", strstr(line, "shstk") ? "on" : "off");
	else
		fact_add(facts, GROUP, "shadow stack", "the kernel has none",
			 "off");
}

static void backends(struct facts *facts)
{
	static const uint32_t all[] = {
		BEZ_INJECT_UFFD, BEZ_INJECT_MADV, BEZ_INJECT_HWPOISON_INJECT,
	};
	static const char *const name[] = {
		"loss by UFFDIO_POISON", "loss by MADV_HWPOISON",
		"loss by hwpoison-inject",
	}, *const means[] = {
		"emulated: without privilege, and harmless",
		"real: --real uses it", "real, with early notice: --real",
	};
	char why[REAL_WHY];
	size_t i;

	for (i = 0; i < 3; i++)
		fact_add(facts, GROUP, name[i], means[i], "%s",
			 real_why(all[i], "", why));
}

void facts_of_process(struct facts *facts)
{
	userfaultfd(facts);
	backends(facts);
	cgroup(facts);
	rights(facts);
	limits(facts);
	thread(facts);
}
