/* SPDX-License-Identifier: MIT */
/*
 * The form for people and other programs. It is read by hand and not by jansson:
 * that takes a few hundred bytes for two of a text ("{}"), goes as deep as the
 * text does, and writes behind its heap when malloc() fails (2.14). Of JSON this
 * knows what a list needs, one member behind the other, at no depth.
 */
#include "vmm/pure/form.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME		"bezoar-vm-lost"
#define VERSION		1
#define FIRST_ROOM	64		/* ranges */
#define HEX_DIGITS	16

/* The rest of a text. */
struct in {
	const char *at, *end;
};

/* Ranges as they come. */
struct list {
	struct bzv_range *range;
	size_t count, room;
};

struct word {
	const char *at;
	size_t len;
};

/* --------------------------------------------------------------- writing */

static void put_text(struct bzv_out *out, const char *text)
{
	bzv_put(out, text, strlen(text));
}

void bzv_json_write(const struct bzv_range *range, size_t count,
		    struct bzv_out *out)
{
	char line[80];
	size_t i;

	put_text(out, "{\"" NAME "\": 1, \"ranges\": [");
	for (i = 0; i < count; i++) {
		snprintf(line, sizeof(line),
			 "%s\n{\"gpa\": \"0x%" PRIx64 "\", \"len\": \"0x%" PRIx64
			 "\"}", i ? "," : "", range[i].gpa, range[i].len);
		put_text(out, line);
	}
	put_text(out, count ? "\n]}\n" : "]}\n");
}

/* --------------------------------------------------------------- reading */

static void skip_space(struct in *in)
{
	while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' ||
				    *in->at == '\n' || *in->at == '\r'))
		in->at++;
}

/* Is @c next? Then it is behind us. */
static int take(struct in *in, char c)
{
	skip_space(in);
	if (in->at == in->end || *in->at != c)
		return 0;
	in->at++;
	return 1;
}

/* A string of plain characters; no name and no number needs an escape. */
static int get_word(struct in *in, struct word *ret)
{
	if (!take(in, '"'))
		return -EBADMSG;
	ret->at = in->at;
	while (in->at < in->end && *in->at >= ' ' && *in->at <= '~' &&
	       *in->at != '"' && *in->at != '\\')
		in->at++;
	ret->len = (size_t)(in->at - ret->at);
	if (in->at == in->end || *in->at != '"')
		return -EBADMSG;
	in->at++;
	return 0;
}

static int is(const struct word *word, const char *name)
{
	return word->len == strlen(name) && !memcmp(word->at, name, word->len);
}

/* The name of a member, with what comes behind it. */
static int get_name(struct in *in, struct word *ret)
{
	int r = get_word(in, ret);

	return r ? r : take(in, ':') ? 0 : -EBADMSG;
}

/* "0x" and up to sixteen digits, as a string: many take numbers for doubles. */
static int get_hex(struct in *in, uint64_t *ret)
{
	struct word word;
	uint64_t n = 0;
	size_t i;

	if (get_word(in, &word) || word.len < 3 || word.len > 2 + HEX_DIGITS ||
	    word.at[0] != '0' || word.at[1] != 'x')
		return -EBADMSG;
	for (i = 2; i < word.len; i++) {
		char c = word.at[i];

		if (c >= '0' && c <= '9')
			n = n << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			n = n << 4 | (uint64_t)(c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			n = n << 4 | (uint64_t)(c - 'A' + 10);
		else
			return -EBADMSG;
	}
	*ret = n;
	return 0;
}

/* A whole number, and not 0. What ends it is for who called to see. */
static int get_version(struct in *in)
{
	unsigned int n = 0;

	skip_space(in);
	if (in->at == in->end || *in->at < '1' || *in->at > '9')
		return -EBADMSG;
	while (in->at < in->end && *in->at >= '0' && *in->at <= '9') {
		n = n * 10 + (unsigned int)(*in->at++ - '0');
		if (n > 999999)
			return -EBADMSG;
	}
	skip_space(in);
	if (in->at == in->end || (*in->at != ',' && *in->at != '}'))
		return -EBADMSG;
	return n > VERSION ? -EOPNOTSUPP : 0;
}

static int get_range(struct in *in, uint64_t end, struct bzv_range *ret)
{
	int gpa = 0, len = 0;
	struct word name;

	if (!take(in, '{'))
		return -EBADMSG;
	do {
		if (get_name(in, &name))
			return -EBADMSG;
		if (is(&name, "gpa") && !gpa++) {
			if (get_hex(in, &ret->gpa))
				return -EBADMSG;
		} else if (is(&name, "len") && !len++) {
			if (get_hex(in, &ret->len))
				return -EBADMSG;
		} else {
			return -EBADMSG;
		}
	} while (take(in, ','));
	return gpa && len && take(in, '}') && bzv_range_ok(end, ret) ? 0 :
								      -EBADMSG;
}

/* Room for one more. */
static int make_room(struct list *list)
{
	size_t room = list->room ? list->room * 2 : FIRST_ROOM;
	struct bzv_range *more;

	if (list->count < list->room)
		return 0;
	if (list->count >= BZV_FORM_MOST)
		return -E2BIG;
	more = realloc(list->range, room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	list->range = more;
	list->room = room;
	return 0;
}

static int get_ranges(struct in *in, struct list *list)
{
	uint64_t end = 0;
	int r;

	if (!take(in, '['))
		return -EBADMSG;
	if (take(in, ']'))
		return 0;
	do {
		struct bzv_range *one;

		r = make_room(list);
		if (r)
			return r;
		one = &list->range[list->count];
		r = get_range(in, end, one);
		if (r)
			return r;
		end = one->gpa + one->len;
		list->count++;
	} while (take(in, ','));
	return take(in, ']') ? 0 : -EBADMSG;
}

static int get_list(struct in *in, struct list *list)
{
	int version = 0, ranges = 0, r;
	struct word name;

	if (!take(in, '{'))
		return -EBADMSG;
	do {
		r = get_name(in, &name);
		if (!r && is(&name, NAME) && !version++)
			r = get_version(in);
		else if (!r && is(&name, "ranges") && !ranges++)
			r = get_ranges(in, list);
		else
			r = -EBADMSG;
		if (r)
			return r;
	} while (take(in, ','));
	if (!version || !ranges || !take(in, '}'))
		return -EBADMSG;
	skip_space(in);
	return in->at == in->end ? 0 : -EBADMSG;
}

int bzv_json_read(const char *from, size_t len, struct bzv_range **ret_range,
		  size_t *ret_count)
{
	struct in in = { from, from + len };
	struct list list = { NULL, 0, 0 };
	int r = get_list(&in, &list);

	if (r) {
		free(list.range);
		return r;
	}
	*ret_range = list.range;
	*ret_count = list.count;
	return 0;
}
