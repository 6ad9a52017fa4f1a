/* SPDX-License-Identifier: MIT */
#include "filter.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "catalogue.h"

#define BILLION 1000000000ull

static int ago(const char *word, uint64_t *ret_ns)
{
	static const char units[] = "smhd";
	static const unsigned int seconds[] = { 1, 60, 3600, 86400 };
	const char *unit;
	uint64_t now = (uint64_t)time(NULL), n;
	char *end;

	if (*word < '0' || *word > '9')
		return -1;
	n = strtoull(word, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (!unit || end[1] || n > now / seconds[unit - units])
		return -1;
	*ret_ns = (now - n * seconds[unit - units]) * BILLION;
	return 0;
}

int filter_since(struct filter *f, const char *word)
{
	static const char *const forms[] = {
		"%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S",
	};
	const char *end;
	struct tm tm;
	time_t s;
	size_t i;

	if (!ago(word, &f->since_ns))
		return 0;
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		memset(&tm, 0, sizeof(tm));
		end = strptime(word, forms[i], &tm);
		if (!end || (*end && strcmp(end, "Z")))
			continue;
		s = timegm(&tm);
		if (s < 0)
			return -1;
		f->since_ns = (uint64_t)s * BILLION;
		return 0;
	}
	return -1;
}

int filter_code(unsigned int *ret, char kind, const char *word)
{
	size_t i;

	for (i = 0; i < catalogue_entries; i++) {
		if (catalogue[i].kind != kind || !entry_is(&catalogue[i], word))
			continue;
		*ret = catalogue[i].number;
		return 0;
	}
	return -1;
}

int filter_digest(struct filter *f, const char *word)
{
	if (strspn(word, "0123456789abcdefABCDEF") != 16 || word[16])
		return -1;
	f->digest = strtoull(word, NULL, 16);
	return f->digest ? 0 : -1;
}

static int is(const char *wanted, const char *name, size_t most)
{
	return !wanted || (strnlen(name, most) == strlen(wanted) &&
			   !memcmp(name, wanted, strlen(wanted)));
}

int filter_takes(const struct filter *f, const struct bez_record *r,
		 int32_t pid)
{
	return r->wall_ns >= f->since_ns && (!f->id || r->id == f->id) &&
	       (!f->digest || r->digest == f->digest) &&
	       (!f->pid || pid == f->pid) &&
	       (!f->outcome || r->outcome == f->outcome) &&
	       (!f->cause || r->cause == f->cause) &&
	       is(f->comm, r->comm, sizeof(r->comm)) &&
	       is(f->region, r->name, sizeof(r->name));
}
