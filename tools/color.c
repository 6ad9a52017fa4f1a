/* SPDX-License-Identifier: MIT */
#include "color.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* of the first eight, which every terminal with colours has */
static const char *const codes[FATES] = {
	[FATE_WHOLE] = "\033[32m",
	[FATE_WITHOUT] = "\033[33m",
	[FATE_ENDED] = "\033[35m",
	[FATE_PASSED] = "\033[31m",
	[FATE_OTHER] = "",
};

static int wanted = -1;			/* not decided yet */

static int by_itself(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (!no || !*no) && term && *term &&
	       strcmp(term, "dumb");
}

int color_wish(const char *word)
{
	if (!word || !strcmp(word, "always"))
		wanted = 1;
	else if (!strcmp(word, "never"))
		wanted = 0;
	else if (!strcmp(word, "auto"))
		wanted = -1;
	else
		return -1;
	return 0;
}

static int colours(void)
{
	if (wanted < 0)
		wanted = by_itself();
	return wanted;
}

const char *color_of(enum fate fate)
{
	return colours() ? codes[fate] : "";
}

const char *color_off(void)
{
	return colours() ? "\033[0m" : "";
}
