/* SPDX-License-Identifier: MIT */
/* What is told to the firmware, and when nothing is: EINJ in a folder of files. */
#define _GNU_SOURCE
#include "einj.h"
#include "tap.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "/sys/kernel/debug/apei/einj"
#define FRAME 0x12345u

static char root[] = "/tmp/einj.XXXXXX";
static const char *const files[] = { "error_type", "flags", "param1", "param2",
				     "notrigger", "error_inject" };
static unsigned int asked, moves_at;	/* at which question; 0: never */
static uint64_t frame = FRAME, mappers = 1;

static void put(const char *path, const char *text)
{
	char full[256];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	f = fopen(full, "w");
	CHECKF(f != NULL, "%s", full);
	fputs(text, f);
	fclose(f);
}

/* What a file of EINJ holds; -1: nothing. */
static long long has(const char *file)
{
	char full[256], text[64] = "";
	FILE *f;

	snprintf(full, sizeof(full), "%s" FOLDER "/%s", root, file);
	f = fopen(full, "r");
	if (!f || !fgets(text, sizeof(text), f))
		text[0] = 0;
	if (f)
		fclose(f);
	return text[0] ? (long long)strtoull(text, NULL, 0) : -1;
}

static uint64_t frame_of(const struct einj *e, const void *page)
{
	(void)e;
	(void)page;
	return ++asked == moves_at ? frame + 1 : frame;
}

static uint64_t mapped_by(const struct einj *e, uint64_t of)
{
	(void)e;
	return of == frame ? mappers : 0;
}

static struct einj machine(void)
{
	static const char *const folders[] = {
		"/sys", "/sys/kernel", "/sys/kernel/debug",
		"/sys/kernel/debug/apei", FOLDER, "/proc" };
	char path[256];
	size_t i;

	CHECK(mkdtemp(root) != NULL);
	for (i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", root, folders[i]);
		CHECK_EQ(mkdir(path, 0700), 0);
	}
	put(FOLDER "/available_error_type",
	    "0x00000008\tMemory Correctable\n"
	    "0x00000010\tMemory Uncorrectable non-fatal\n"
	    "0x00000020\tMemory Uncorrectable fatal\n");
	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), FOLDER "/%s", files[i]);
		put(path, "");
	}
	put("/proc/iomem", "00001000-0009ffff : System RAM\n"
	    "00100000-3fffffff : System RAM\n"
	    "  01000000-01ffffff : Kernel code\n"
	    "40000000-4fffffff : PCI Bus 0000:00\n");
	return (struct einj){ root, frame_of, mapped_by };
}

static void clean(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	CHECK_EQ(system(command), 0);
}

static void *page(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	memset(p, 'a', 4096);
	return p;
}

static void all_is_told(void)
{
	struct einj e = machine();
	const char *why = einj_inject(&e, page(), EINJ_UNCORRECTED);

	CHECKF(!why, "%s", why);
	CHECK_EQ(has("error_type"), 0x10);
	CHECK_EQ(has("flags"), 2);
	CHECK_EQ(has("param1"), FRAME * 4096ll);
	CHECK_EQ(has("param2"), -4096);
	CHECK_EQ(has("notrigger"), 1);
	CHECK_EQ(has("error_inject"), 1);
	clean();
}

/* @type is refused, and for that reason. */
static void refused(const struct einj *e, unsigned int type, const char *reason)
{
	const char *why = einj_inject(e, page(), type);

	CHECK(why != NULL);
	CHECKF(strstr(why, reason), "refused, as %s", why);
	CHECK_EQ(has("error_inject"), -1);
	clean();
}

static void fatal(void)
{
	struct einj e = machine();

	refused(&e, EINJ_FATAL, "only corrected and non-fatal");
}

static void not_offered(void)
{
	struct einj e = machine();

	put(FOLDER "/available_error_type", "0x00000010\tUncorrectable\n");
	refused(&e, EINJ_CORRECTED, "does not offer");
}

static void no_einj(void)
{
	struct einj e = machine();
	char path[256];

	snprintf(path, sizeof(path), "%s" FOLDER "/available_error_type", root);
	CHECK_EQ(unlink(path), 0);
	refused(&e, EINJ_UNCORRECTED, "no EINJ");
}

static void no_frame(void)
{
	struct einj e = machine();

	frame = 0;
	refused(&e, EINJ_UNCORRECTED, "no frame number");
}

static void not_ram(void)
{
	struct einj e = machine();

	frame = 0x40000;
	refused(&e, EINJ_UNCORRECTED, "not in the System RAM");
}

static void shared(void)
{
	struct einj e = machine();

	mappers = 2;
	refused(&e, EINJ_UNCORRECTED, "somebody else");
}

static void moves_early(void)
{
	struct einj e = machine();

	moves_at = 2;
	refused(&e, EINJ_UNCORRECTED, "has moved");
}

static void moves_last(void)
{
	struct einj e = machine();

	moves_at = 3;
	refused(&e, EINJ_UNCORRECTED, "has moved");
	CHECK_EQ(asked, 3);
}

static void aborts(int sig)
{
	(void)sig;
	clean();
}

/* The program ends: nobody knows whose memory is bad. */
static void moves_too_late(void)
{
	struct einj e = machine();
	const struct rlimit none = { 0, 0 };

	CHECK_EQ(setrlimit(RLIMIT_CORE, &none), 0);
	CHECK(signal(SIGABRT, aborts) != SIG_ERR);
	moves_at = 4;
	einj_inject(&e, page(), EINJ_UNCORRECTED);
}

static void parameter_is_not_taken(void)
{
	struct einj e = machine();
	char path[256];

	/* A device: it takes all, and has nothing. */
	snprintf(path, sizeof(path), "%s" FOLDER "/param1", root);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(symlink("/dev/null", path), 0);
	refused(&e, EINJ_UNCORRECTED, "did not take");
}

/* Where the numbers of /proc are read from. */
static void reads_the_page_map(void)
{
	struct einj e = machine(), real = einj_at(root);
	void *at = page();
	uint64_t entry = 1ull << 63 | FRAME, one = 1;
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/proc/self", root);
	CHECK_EQ(mkdir(path, 0700), 0);
	put("/proc/self/pagemap", "");
	put("/proc/kpagecount", "");
	CHECK_EQ(real.frame(&real, at), 0);
	snprintf(path, sizeof(path), "%s/proc/self/pagemap", root);
	f = fopen(path, "r+");
	CHECK(f != NULL);
	CHECK_EQ(fseek(f, (long)((uintptr_t)at / 4096 * 8), SEEK_SET), 0);
	CHECK_EQ(fwrite(&entry, 8, 1, f), 1);
	fclose(f);
	CHECK_EQ(real.frame(&real, at), FRAME);
	CHECK_EQ(real.mapped(&real, FRAME), 0);
	snprintf(path, sizeof(path), "%s/proc/kpagecount", root);
	f = fopen(path, "r+");
	CHECK(f != NULL);
	CHECK_EQ(fseek(f, FRAME * 8, SEEK_SET), 0);
	CHECK_EQ(fwrite(&one, 8, 1, f), 1);
	fclose(f);
	CHECK_EQ(real.mapped(&real, FRAME), 1);
	(void)e;
	clean();
}

static const struct tap_case cases[] = {
	{ .name = "all is told, and then to inject", .run = all_is_told },
	{ .name = "a fatal error is refused", .run = fatal },
	{ .name = "a type that is not offered", .run = not_offered },
	{ .name = "no EINJ", .run = no_einj },
	{ .name = "no frame number, no error", .run = no_frame },
	{ .name = "a frame that is no memory", .run = not_ram },
	{ .name = "a frame that is shared", .run = shared },
	{ .name = "a page that moves before it is held", .run = moves_early },
	{ .name = "a page that moves at the last moment", .run = moves_last },
	{ .name = "a page that moves too late", .run = moves_too_late,
	  .want_signal = SIGABRT },
	{ .name = "a parameter that is not taken",
	  .run = parameter_is_not_taken },
	{ .name = "frames and counts are read from /proc",
	  .run = reads_the_page_map },
};
TAP_MAIN(cases)
