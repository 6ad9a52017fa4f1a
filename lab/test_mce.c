/* SPDX-License-Identifier: MIT */
/* Whose answer it is: a monitor that is none, on a pseudo-terminal. */
#define _GNU_SOURCE
#include "mce.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct play {
	const char *name;
	/* Words that are said, one line each, until NULL: "@" is the number of
	 * the request, "+" one more. */
	const char *says[4];
	int wanted;
};

static const struct play plays[] = {
	{ "ok", { "@ ok" }, 0 },
	{ "no", { "@ no such kind" }, -EINVAL },
	{ "never there", { "@ no never there in 3 tries" }, -EAGAIN },
	{ "ok, after a late no", { "+ no never there in 3 tries", "@ ok" }, 0 },
	{ "no, after a late ok", { "1 ok", "+ ok", "@ no such kind" }, -EINVAL },
	{ "what has no number is not ours", { "ok", "- ok", "@ no" }, -EINVAL },
	{ "only a late one", { "+ ok" }, -EIO },
};

static int master;
static char asked[2][256];

/* Answer one request. What comes last closes the line. */
static void *monitor(void *arg)
{
	const struct play *p = arg;
	unsigned long long number = 0;
	char *line = asked[0], answer[64];
	size_t n = 0, i;

	while (n < sizeof(asked[0]) - 1 && read(master, line + n, 1) == 1 &&
	       line[n] != '\n')
		n++;
	line[n] = '\0';
	CHECKF(sscanf(line, "mce %llx load 1 abc000 10 20", &number) == 1,
	       "asked: %s", line);
	for (i = 0; i < 4 && p->says[i]; i++) {
		const char *rest = p->says[i] + 1;
		int r = *p->says[i] == '@' || *p->says[i] == '+' ?
			snprintf(answer, sizeof(answer), "%llx%s\n",
				 number + (*p->says[i] == '+'), rest) :
			snprintf(answer, sizeof(answer), "%s\n", p->says[i]);

		CHECK_EQ(write(master, answer, (size_t)r), r);
	}
	if (p->wanted == -EIO)
		close(master);
	return NULL;
}

static int ask(const struct play *p)
{
	const struct lab_mce mce = {
		.kind = LAB_MCE_LOAD, .cpu = 1, .phys = 0xabc000,
		.low = 0x10, .high = 0x20,
	};
	pthread_t thread;
	int r;

	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || grantpt(master) || unlockpt(master))
		tap_skip("no pseudo-terminals here: %s", strerror(errno));
	CHECK_EQ(setenv("LAB_MONITOR", ptsname(master), 1), 0);
	CHECK_EQ(pthread_create(&thread, NULL, monitor, (void *)p), 0);
	r = lab_mce(&mce);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	if (p->wanted != -EIO)
		close(master);
	return r;
}

static void answered(void)
{
	const struct play *p = tap_data();

	CHECK_EQ(ask(p), p->wanted);
}

static void another_number(void)
{
	CHECK_EQ(ask(&plays[0]), 0);
	memcpy(asked[1], asked[0], sizeof(asked[0]));
	CHECK_EQ(ask(&plays[0]), 0);
	CHECKF(strcmp(asked[0], asked[1]), "twice: %s", asked[0]);
}

int main(int argc, char **argv)
{
	static struct tap_case cases[sizeof(plays) / sizeof(plays[0]) + 1];
	size_t n;

	for (n = 0; n < sizeof(plays) / sizeof(plays[0]); n++)
		cases[n] = (struct tap_case){ .name = plays[n].name,
					      .run = answered,
					      .data = &plays[n] };
	cases[n++] = (struct tap_case){ .name = "each request has its own",
					.run = another_number };
	return tap_main(cases, n, argc, argv);
}
