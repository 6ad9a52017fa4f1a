/* SPDX-License-Identifier: MIT */
#include "when.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define BILLION 1000000000u

/* strftime(3) would ask the locale of some of it. */
static size_t seconds(int64_t s, char ret[WHEN_ROOM])
{
	time_t t = (time_t)s;
	struct tm tm;

	memset(&tm, 0, sizeof(tm));
	gmtime_r(&t, &tm);
	return (size_t)snprintf(ret, WHEN_ROOM, "%04d-%02d-%02dT%02d:%02d:%02d",
				tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
				tm.tm_hour, tm.tm_min, tm.tm_sec);
}

const char *when_ns(uint64_t ns, char ret[WHEN_ROOM])
{
	size_t len = seconds((int64_t)(ns / BILLION), ret);

	snprintf(ret + len, WHEN_ROOM - len, ".%09uZ",
		 (unsigned int)(ns % BILLION));
	return ret;
}

const char *when_s(int64_t ns, char ret[WHEN_ROOM])
{
	/* before 1970 as well: down, not towards 0 */
	int64_t s = ns / BILLION - (ns % BILLION < 0);
	size_t len = seconds(s, ret);

	snprintf(ret + len, WHEN_ROOM - len, "Z");
	return ret;
}
