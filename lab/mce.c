/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "mce.h"

#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const char *const words[] = {
	[LAB_MCE_LOAD] = "load",
	[LAB_MCE_LOCAL] = "local",
	[LAB_MCE_FETCH] = "fetch",
	[LAB_MCE_NO_RESTART] = "norip",
	[LAB_MCE_OPTIONAL] = "optional",
	[LAB_MCE_DEFERRED] = "ucna",
	[LAB_MCE_CORRECTED] = "corrected",
};

/* boot.sh says which line it is, in init's environment. */
static const char *line_name(void)
{
	return getenv("LAB_MONITOR");
}

void lab_need_mce(void)
{
	if (!line_name())
		tap_skip("no monitor to ask for machine checks: only the lab "
			 "has one (make lab)");
}

/* The line, raw, with nothing left in it of one that gave up; or -errno. */
static int open_line(void)
{
	struct termios mode;
	int fd;

	if (!line_name())
		return -ENODEV;
	fd = open(line_name(), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
	if (flock(fd, LOCK_EX) || tcgetattr(fd, &mode))
		goto fail;
	cfmakeraw(&mode);
	if (tcsetattr(fd, TCSANOW, &mode) || tcflush(fd, TCIFLUSH))
		goto fail;
	return fd;
fail:
	close(fd);
	return -EIO;
}

/* A line of text without its end. The monitor has a limit of its own. */
static int read_line(int fd, char *line, size_t size)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	size_t n = 0;
	ssize_t r;

	while (n < size - 1) {
		r = poll(&wait, 1, 90000);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -EIO;
		r = read(fd, line + n, 1);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -EIO;
		if (line[n] == '\n')
			break;
		n++;
	}
	line[n] = '\0';
	return 0;
}

/* A number that no other request has. */
static uint64_t own_number(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* What is said to @number. What comes before is for one who was killed while the
 * monitor still tried. Returns NULL if nothing comes. */
static const char *read_answer(int fd, uint64_t number, char *line, size_t size)
{
	uint64_t is;
	int behind;

	while (!read_line(fd, line, size)) {
		behind = 0;
		if (sscanf(line, "%" SCNx64 " %n", &is, &behind) == 1 &&
		    is == number && behind)
			return line + behind;
	}
	return NULL;
}

int lab_mce(const struct lab_mce *mce)
{
	const uint64_t number = own_number();
	const char *answer = NULL;
	char line[256];
	ssize_t length;
	int fd;

	fd = open_line();
	if (fd < 0)
		return fd;
	length = snprintf(line, sizeof(line), "mce %" PRIx64
			  " %s %x %" PRIx64 " %" PRIxPTR " %" PRIxPTR, number,
			  words[mce->kind], mce->cpu, mce->phys, mce->low,
			  mce->high);
	if (mce->from || mce->to)
		length += snprintf(line + length, sizeof(line) - (size_t)length,
				   " %" PRIxPTR " %" PRIxPTR, mce->from,
				   mce->to);
	line[length++] = '\n';
	if (write(fd, line, (size_t)length) == length)
		answer = read_answer(fd, number, line, sizeof(line));
	close(fd);
	if (!answer)
		return -EIO;
	if (!strcmp(answer, "ok"))
		return 0;
	tap_diag("the monitor: %s", answer);
	return strstr(answer, "never there") ? -EAGAIN : -EINVAL;
}

uint64_t lab_phys(const void *p)
{
	const uintptr_t page = (uintptr_t)p / 4096, in_page = (uintptr_t)p % 4096;
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &entry, sizeof(entry), (off_t)(page * sizeof(entry))),
		 sizeof(entry));
	close(fd);
	if (!(entry >> 63))
		return 0;
	return (entry & ((1ull << 55) - 1)) * 4096 + in_page;
}

__asm__(
"	.pushsection .text\n"
"	.globl lab_load_loop, lab_load_loop_end\n"
"	.type lab_load_loop, @function\n"
"lab_load_loop:\n"
"	movzbl (%rdi), %eax\n"
"	cmpl $0, (%rsi)\n"
"	je lab_load_loop\n"
"	ret\n"
"lab_load_loop_end:\n"
"	.size lab_load_loop, . - lab_load_loop\n"
"	.globl lab_store_loop, lab_store_loop_end\n"
"	.type lab_store_loop, @function\n"
"lab_store_loop:\n"
"	movb %dl, (%rdi)\n"
"	cmpl $0, (%rsi)\n"
"	je lab_store_loop\n"
"	ret\n"
"lab_store_loop_end:\n"
"	.size lab_store_loop, . - lab_store_loop\n"
"	.popsection\n");

/* A routine of the kernel's: from its name to that of the next. */
static int find_routine(const char *name, uintptr_t *ret_low,
			uintptr_t *ret_high)
{
	uintptr_t low = 0, high = UINTPTR_MAX, at;
	char line[512], is[256];
	int pass;
	FILE *f = fopen("/proc/kallsyms", "re");

	CHECK(f != NULL);
	for (pass = 0; pass < 2; pass++) {
		rewind(f);
		while (fgets(line, sizeof(line), f)) {
			if (sscanf(line, "%" SCNxPTR " %*c %255s", &at, is) != 2)
				continue;
			if (!pass && !strcmp(is, name))
				low = at;
			else if (pass && at > low && at < high)
				high = at;
		}
		if (!low)
			break;
	}
	fclose(f);
	*ret_high = high;
	*ret_low = low;
	return low != 0;
}

/* A processor that moves bytes as fast as words: then a kernel moves bytes. */
static int moves_bytes(void)
{
	char line[4096];
	int yes = 0;
	FILE *f = fopen("/proc/cpuinfo", "re");

	CHECK(f != NULL);
	while (!yes && fgets(line, sizeof(line), f))
		yes = !strncmp(line, "flags", 5) && strstr(line, " erms");
	fclose(f);
	return yes;
}

/* Two hundred thousand names take seconds in an emulation, and each case is a process of its
 * own: what the first has found is there for all. */
static struct range {
	uintptr_t low, high;
} *found;

static __attribute__((constructor)) void share(void)
{
	void *at = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at != MAP_FAILED)
		found = at;
}

void lab_copy_range(uintptr_t *ret_low, uintptr_t *ret_high)
{
	CHECK(found != NULL);
	/* The newest first. */
	if (!found->low &&
	    !find_routine("rep_movs_alternative", &found->low, &found->high) &&
	    !find_routine(moves_bytes() ? "copy_user_enhanced_fast_string" :
			  "copy_user_generic_string", &found->low, &found->high))
		CHECKF(0, "no routine in /proc/kallsyms copies from user memory");
	*ret_low = found->low;
	*ret_high = found->high;
}

void lab_stay_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	CHECKF(!sched_setaffinity(0, sizeof(set), &set), "processor %u: %s", cpu,
	       strerror(errno));
}
