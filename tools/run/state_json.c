/* SPDX-License-Identifier: MIT */
/*
 * {"version":1, "name":..., "latched":null|{"reason":...,"why":...,"wall_ns":...},
 *  "looked":..., "deaths":[{"when":..., "wall_ns":..., "boot_ns":..., "boot_id":..., "pid":...,
 *  "start_ticks":..., "by":..., "frame":null|"0x...", "dimm":..., "digest":...}]}
 *
 * "name" and "when" are for people. Names are written as bezoar log has them, and
 * so is a module's label, which the kernel has from the firmware.
 */
#include "state_json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *const by_words[] = { "record", "shutdown", "kernel" };

/* ------------------------------------------------------------------ written */

const char *state_boot_text(const uint8_t id[16], char ret[33])
{
	size_t i;

	for (i = 0; i < 16; i++)
		sprintf(ret + 2 * i, "%02x", id[i]);
	return ret;
}

static json_t *death_json(const struct death *d)
{
	char when[32], boot[33], digest[32];

	snprintf(digest, sizeof(digest), "%016" PRIx64, d->digest);
	return json_pack("{s:s, s:I, s:I, s:s, s:i, s:I, s:s, s:o, s:s, s:s}",
			 "when", latch_when(d->wall_ns, when),
			 "wall_ns", (json_int_t)d->wall_ns,
			 "boot_ns", (json_int_t)d->boot_ns,
			 "boot_id", state_boot_text(d->boot_id, boot),
			 "pid", (int)d->pid, "start_ticks",
			 (json_int_t)d->start_ticks, "by", by_words[d->by],
			 "frame", d->has_frame ?
			 json_sprintf("0x%" PRIx64, d->frame) : json_null(),
			 "dimm", d->dimm, "digest", digest);
}

char *state_print(const char *name, const struct state *s)
{
	char shown[ESCAPED(NAME_MOST)], *text, *line = NULL;
	json_t *deaths = json_array(), *latched = json_null(), *all;
	int bad = 0;
	size_t i;

	for (i = 0; i < s->deaths.n; i++)
		bad |= json_array_append_new(deaths,
					     death_json(&s->deaths.death[i]));
	if (s->latch)
		latched = json_pack("{s:s, s:s, s:I}", "reason",
				    latch_word(s->latch), "why", s->why,
				    "wall_ns", (json_int_t)s->latched_ns);
	all = json_pack("{s:i, s:s, s:o, s:I, s:o}", "version", STATE_VERSION,
			"name", escape(shown, name, NAME_MOST),
			"latched", latched, "looked", (json_int_t)s->looked,
			"deaths", deaths);
	text = bad || !all ? NULL :
	       json_dumps(all, JSON_INDENT(1) | JSON_ENSURE_ASCII);
	json_decref(all);
	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	return line;
}

/* --------------------------------------------------------------------- read */

static int number(json_t *from, const char *key, uint64_t *ret)
{
	json_t *n = json_object_get(from, key);

	if (!json_is_integer(n) || json_integer_value(n) < 0)
		return -1;
	*ret = (uint64_t)json_integer_value(n);
	return 0;
}

/* It need not be there, and is 0 then. */
static int perhaps(json_t *from, const char *key, uint64_t *ret)
{
	*ret = 0;
	return json_object_get(from, key) ? number(from, key, ret) : 0;
}

/* Plain characters only: it goes to terminals. */
static int text(json_t *from, const char *key, char *ret, size_t room)
{
	const char *s = json_string_value(json_object_get(from, key));
	size_t i;

	if (!s || strlen(s) >= room)
		return -1;
	for (i = 0; s[i]; i++)
		if (s[i] < ' ' || s[i] > '~')
			return -1;
	strcpy(ret, s);
	return 0;
}

static int hex(const char *s, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(s, &end, 16);
	return *s == '-' || *s == '+' || *s == ' ' || end == s || *end || errno;
}

static int boot_of(const char *s, uint8_t ret[16])
{
	char pair[3] = "";
	uint64_t byte;
	size_t i;

	if (strlen(s) != 32)
		return -1;
	for (i = 0; i < 16; i++) {
		memcpy(pair, s + 2 * i, 2);
		if (hex(pair, &byte))
			return -1;
		ret[i] = (uint8_t)byte;
	}
	return 0;
}

static int death_of(json_t *from, struct death *ret)
{
	json_t *frame = json_object_get(from, "frame");
	char boot[40], by[16], digest[32];
	uint64_t pid;
	size_t i;

	if (number(from, "wall_ns", &ret->wall_ns) ||
	    number(from, "boot_ns", &ret->boot_ns) ||
	    perhaps(from, "start_ticks", &ret->start_ticks) ||
	    number(from, "pid", &pid) || pid > INT32_MAX ||
	    text(from, "boot_id", boot, sizeof(boot)) ||
	    boot_of(boot, ret->boot_id) ||
	    text(from, "by", by, sizeof(by)) ||
	    text(from, "dimm", ret->dimm, sizeof(ret->dimm)) ||
	    text(from, "digest", digest, sizeof(digest)) ||
	    hex(digest, &ret->digest))
		return -1;
	ret->pid = (int32_t)pid;
	for (i = 0; i < 3 && strcmp(by, by_words[i]); i++)
		continue;
	ret->by = (enum death_by)i;
	ret->has_frame = json_is_string(frame);
	if (i == 3 || (!json_is_null(frame) && !ret->has_frame))
		return -1;
	return ret->has_frame && hex(json_string_value(frame), &ret->frame) ?
	       -1 : 0;
}

static int latch_from(json_t *from, struct state *ret)
{
	char word[16];
	int i;

	if (json_is_null(from))
		return 0;
	if (text(from, "reason", word, sizeof(word)) ||
	    text(from, "why", ret->why, sizeof(ret->why)) ||
	    number(from, "wall_ns", &ret->latched_ns))
		return -1;
	for (i = LATCH_OFTEN; i <= LATCH_FRAME; i++)
		if (!strcmp(word, latch_word((enum latch)i)))
			ret->latch = (enum latch)i;
	return ret->latch ? 0 : -1;
}

static int all_of(json_t *all, struct state *ret, const char **ret_why)
{
	json_t *deaths = json_object_get(all, "deaths"), *one;
	struct death death;
	uint64_t version;
	size_t i;

	*ret_why = "it is no state of bezoar run";
	if (number(all, "version", &version) || !version)
		return -EINVAL;
	if (version > STATE_VERSION)
		return -EPROTO;
	*ret_why = "it is damaged";
	text(all, "name", ret->shown, sizeof(ret->shown));
	if (!json_is_array(deaths) || perhaps(all, "looked", &ret->looked) ||
	    latch_from(json_object_get(all, "latched"), ret))
		return -EINVAL;
	json_array_foreach(deaths, i, one) {
		memset(&death, 0, sizeof(death));
		if (death_of(one, &death))
			return -EINVAL;
		deaths_add(&ret->deaths, &death);
	}
	return 0;
}

int state_parse(const char *words, struct state *ret_state,
		const char **ret_why)
{
	json_t *all = json_loads(words, JSON_REJECT_DUPLICATES, NULL);
	int r = -EINVAL;

	*ret_why = "it is no JSON";
	if (all)
		r = all_of(all, ret_state, ret_why);
	json_decref(all);
	return r;
}
