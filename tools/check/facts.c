/* SPDX-License-Identifier: MIT */
#include "facts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"

#define MOST	256			/* bytes of a value */

static char *value_of(const char *fmt, va_list args)
{
	char plain[MOST], *value = malloc(ESCAPED(MOST));

	if (value) {
		vsnprintf(plain, sizeof(plain), fmt, args);
		escape(value, plain, sizeof(plain));
	}
	return value;
}

void fact_add(struct facts *facts, const char *group, const char *name,
	      const char *means, const char *fmt, ...)
{
	struct fact *more, *f;
	va_list args;

	more = realloc(facts->fact, (facts->count + 1) * sizeof(*more));
	if (!more) {
		facts->no_memory = 1;
		return;
	}
	facts->fact = more;
	f = &more[facts->count++];
	f->group = group;
	f->name = name;
	f->means = means;
	f->value = NULL;
	if (!fmt)
		return;
	va_start(args, fmt);
	f->value = value_of(fmt, args);
	va_end(args);
	facts->no_memory |= !f->value;
}

int fact_line_of(const char *path, const char *key, char *ret, size_t room)
{
	FILE *f = fopen(path, "re");
	size_t len = strlen(key);
	char line[1024];
	int r = -1;

	while (f && r && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, len))
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(ret, room, "%s",
			 line + len + strspn(line + len, " \t"));
		r = 0;
	}
	if (f)
		fclose(f);
	return r;
}

int fact_line(const char *path, char *ret, size_t room)
{
	return fact_line_of(path, "", ret, room);
}

long real_corrupted(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long kib = -1;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "HardwareCorrupted: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

const char *fact_of(const struct facts *facts, const char *name)
{
	size_t i;

	for (i = 0; i < facts->count; i++)
		if (!strcmp(facts->fact[i].name, name))
			return facts->fact[i].value;
	return NULL;
}

void facts_free(struct facts *facts)
{
	size_t i;

	for (i = 0; i < facts->count; i++)
		free(facts->fact[i].value);
	free(facts->fact);
}
