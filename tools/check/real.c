/* SPDX-License-Identifier: MIT */
/* Real poison: what it costs, who has agreed, and how it is undone. */
#include "check.h"

#include <bezoar/inject.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"

/* At most: what cannot be tried costs nothing. */
static unsigned int pages_of_all(void)
{
	unsigned int sum = 0;
	size_t i;

	for (i = 0; i < probes_count; i++)
		sum += probes[i].pages;
	return sum;
}

int real_can_undo(void)
{
	return !access(UNPOISON, W_OK);
}

const char *real_why(uint32_t backend, const char *instead, char ret[REAL_WHY])
{
	const char *why = bez_inject_why(backend);
	const char *hint = strstr(why, "; use BEZ_");

	snprintf(ret, REAL_WHY, "%.*s%s", (int)(hint ? hint - why : REAL_WHY), why,
		 hint ? instead : "");
	return ret;
}

static int said_yes(void)
{
	char line[16];

	fputs("Go on? [y/N] ", stderr);
	return fgets(line, sizeof(line), stdin) &&
	       (line[0] == 'y' || line[0] == 'Y');
}

int real_agreed(const struct check_options *options)
{
	if (bez_inject_available(BEZ_INJECT_MADV))
		return 0;		/* nothing will be lost */
	tool_say("this takes up to %u pages of memory (%lu KiB) out of use;",
		 pages_of_all(), pages_of_all() *
		 (unsigned long)sysconf(_SC_PAGESIZE) / 1024);
	tool_say(real_can_undo() ?
		 "they are given back, one after the other;" :
		 "they stay so until the next boot: there is no hwpoison-inject;");
	tool_say("the kernel's log will say so, page by page.");
	if (options->yes)
		return 0;
	if (!isatty(0) || !isatty(2)) {
		tool_say("--real wants --yes where nobody can be asked");
		return -1;
	}
	if (said_yes())
		return 0;
	tool_say("nothing was done");
	return -1;
}

static int give_back(int fd, uint64_t frame)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%#" PRIx64 "\n", frame);

	return write(fd, text, (size_t)len) == len;
}

/* Who had them is dead: they belong to nobody, and the kernel takes them. */
void real_undo(struct answer *a)
{
	int fd = a->lost ? open(UNPOISON, O_WRONLY | O_CLOEXEC) : -1;
	unsigned int i;

	if (fd < 0)
		return;
	for (i = 0; i < a->lost && i < PROBE_FRAMES; i++)
		if (a->frames[i])
			a->given_back += (unsigned int)give_back(fd,
								a->frames[i]);
	close(fd);
}
