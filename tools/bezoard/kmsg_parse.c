/* SPDX-License-Identifier: MIT */
/* The record around a line, and what mm/memory-failure.c says. */
#include "kmsg_parse.h"

#include <string.h>

#include "kmsg_in.h"

#define PAGE_FRAME_MOST (1ull << 52)	/* of 64 bits of address */

const char *const kmsg_kind_names[KMSG_KINDS] = {
	[KMSG_POISON] = "poison",
	[KMSG_HANDLED] = "handled",
	[KMSG_KILLED] = "killed",
	[KMSG_OFFLINE] = "offline",
	[KMSG_CORRECTED] = "corrected",
	[KMSG_UNCORRECTED] = "uncorrected",
};

/* ----------------------------------------------------------- pieces of text */

int kmsg_word(struct piece_of *p, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(p->end - p->at) < len || memcmp(p->at, word, len) != 0)
		return 0;
	p->at += len;
	return 1;
}

const char *kmsg_find(struct piece_of p, const char *word)
{
	for (; p.at < p.end; p.at++) {
		struct piece_of here = p;

		if (kmsg_word(&here, word))
			return p.at;
	}
	return NULL;
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' :
	       c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	       c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

static int number(struct piece_of *p, uint64_t base, uint64_t *ret)
{
	const char *from = p->at;
	uint64_t n = 0;

	for (; p->at < p->end && (uint64_t)digit(*p->at) < base; p->at++) {
		if (n > (UINT64_MAX - 15) / base)
			return 0;
		n = n * base + (uint64_t)digit(*p->at);
	}
	if (p->at == from)
		return 0;
	*ret = n;
	return 1;
}

int kmsg_decimal(struct piece_of *p, uint64_t *ret)
{
	return number(p, 10, ret);
}

int kmsg_hex(struct piece_of *p, uint64_t *ret)
{
	return number(p, 16, ret);
}

void kmsg_name_dimm(struct kmsg_said *said, const char *from, const char *end)
{
	size_t len, i;

	while (from < end && *from == ' ')
		from++;
	len = (size_t)(end - from);
	if (len >= KMSG_DIMM)
		len = KMSG_DIMM - 1;
	while (len && from[len - 1] == ' ')
		len--;
	memcpy(said->dimm, from, len);
	memset(said->dimm + len, 0, KMSG_DIMM - len);
	for (i = 0; i < len; i++)
		if (said->dimm[i] < ' ' || said->dimm[i] > '~')
			said->dimm[i] = '?';
}

void kmsg_add_text(struct kmsg_said *said, struct piece_of text)
{
	size_t len = (size_t)(text.end - text.at);

	if (said->len && said->len < KMSG_TEXT)
		said->text[said->len++] = '\n';
	if (len > KMSG_TEXT - (size_t)said->len)
		len = KMSG_TEXT - (size_t)said->len;
	memcpy(said->text + said->len, text.at, len);
	said->len = (uint16_t)(said->len + len);
}

/* --------------------------------------------------------- memory_failure()
 *
 * The name of a process stands at the beginning of lines of others ("NAME[12]: segfault
 * at ... in FILE[...]"), has up to 15 bytes, and may look like the beginning of any of
 * these; the name of the file has more. So each is known by its end, too, where such
 * lines have a bracket, or what no name can bring there.
 */

#define NAME_MOST	60		/* 15 bytes, as the log escapes them */

static int frame(struct piece_of *p, struct kmsg_said *said)
{
	uint64_t n;

	if (!kmsg_hex(p, &n) || n >= PAGE_FRAME_MOST)
		return 0;
	said->frame = (int64_t)n;
	return 1;
}

/* Words without numbers, brackets or colons, to the end. */
static int is_words(struct piece_of p)
{
	for (; p.at < p.end; p.at++)
		if (!((*p.at | 0x20) >= 'a' && (*p.at | 0x20) <= 'z') &&
		    *p.at != ' ' && *p.at != '-' && *p.at != '\'' &&
		    *p.at != '.')
			return 0;
	return 1;
}

/* "...: Recovered", and the others of action_name[]. */
static int is_result(struct piece_of p)
{
	static const char *const results[] = {
		": Ignored", ": Failed", ": Delayed", ": Recovered",
	};
	size_t i, len;

	for (i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		len = strlen(results[i]);
		if ((size_t)(p.end - p.at) > len &&
		    !memcmp(p.end - len, results[i], len))
			return 1;
	}
	return 0;
}

/*
 * "...NAME:PID", and then @tail. The name is of a process, and may be anything: what
 * counts stands at the end.
 */
static int whose(struct piece_of p, const char *tail, struct kmsg_said *said)
{
	size_t len = strlen(tail);
	struct piece_of number;
	uint64_t pid;

	if ((size_t)(p.end - p.at) <= len || memcmp(p.end - len, tail, len) != 0)
		return 0;
	number.end = number.at = p.end - len;
	while (number.at > p.at && digit(number.at[-1]) < 10)
		number.at--;
	if (number.at == p.at || number.at[-1] != ':' ||
	    number.at - p.at > NAME_MOST + 1 ||
	    !kmsg_decimal(&number, &pid) || !pid || pid > INT32_MAX)
		return 0;
	said->pid = (int32_t)pid;
	return 1;
}

static void fate(struct piece_of p, struct kmsg_said *said)
{
	static const char *const tails[] = {
		" due to hardware memory corruption",
		" early due to hardware memory corruption",
		" because of failure to unmap corrupted page",
	};
	struct piece_of rest = p;
	size_t i;

	said->kind = KMSG_POISON;
	if (kmsg_word(&rest, "recovery action for ")) {
		if (is_result(rest))
			said->kind = KMSG_HANDLED;
		return;
	}
	if (!kmsg_word(&rest, "Sending SIGBUS to ") &&
	    !kmsg_word(&rest, "Killing ") &&
	    !kmsg_word(&rest, "forcibly killing "))
		return;
	for (i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
		if (whose(rest, tails[i], said))
			said->kind = KMSG_KILLED;
}

/* "Unpoison: Software-unpoisoned page 0x1234", later "Unpoison: 0x1234: software-
 * unpoisoned page", and others of both: of a test. */
static int unpoison(struct piece_of p, struct kmsg_said *said)
{
	struct piece_of before = p;
	int first;

	said->kind = KMSG_HANDLED;
	before.end = kmsg_find(p, "0x");
	if (!before.end || !is_words(before))
		return 0;
	first = before.end == p.at;
	p.at = before.end + 2;
	if (!frame(&p, said))
		return 0;
	return first ? kmsg_word(&p, ": ") && is_words(p) : p.at == p.end;
}

static int offline(struct piece_of p, struct kmsg_said *said)
{
	static const char *const begin[] = {
		"soft offline: 0x", "Soft offline: 0x", "soft_offline: 0x",
		"soft_offline_page: 0x",
	};
	size_t i;

	for (i = 0; i < sizeof(begin) / sizeof(begin[0]); i++)
		if (kmsg_word(&p, begin[i])) {
			said->kind = KMSG_OFFLINE;
			return frame(&p, said) &&
			       (kmsg_word(&p, ": ") || kmsg_word(&p, " "));
		}
	return 0;
}

static int memory_failure(struct piece_of p, struct kmsg_said *said)
{
	if (kmsg_word(&p, "0x")) {
		if (!frame(&p, said) ||
		    (!kmsg_word(&p, ": ") && !kmsg_word(&p, " ")))
			return 0;
		fate(p, said);
		return 1;
	}
	said->kind = KMSG_POISON;
	if (kmsg_word(&p, "Unable to find user space address ") ||
	    kmsg_word(&p, "buffer overflow when queuing memory failure at 0x"))
		return frame(&p, said);
	return kmsg_word(&p, "Unpoison: ") ? unpoison(p, said) :
					     offline(p, said);
}

/* A page fault at what was lost before: "MCE: Killing cat:12 due to hardware memory
 * corruption fault at 7f0012345000". The address is the process's. */
static int killed_again(struct piece_of p, struct kmsg_said *said)
{
	static const char fault[] = " fault at ";
	const char *at = NULL, *next;
	struct piece_of from = p;
	uint64_t addr;

	while ((next = kmsg_find(from, fault))) {
		at = next;
		from.at = next + 1;
	}
	if (!at)
		return 0;
	from.at = at + strlen(fault);
	if (!kmsg_hex(&from, &addr) || from.at != from.end)
		return 0;
	p.end = at;
	said->kind = KMSG_KILLED;
	return whose(p, " due to hardware memory corruption", said);
}

/* ------------------------------------------------------------------- records */

/* "3,1234,5678901,-,caller=T12;text", and behind a newline what it is about. */
static int head(struct piece_of *p, struct kmsg_said *said)
{
	const char *semicolon, *newline;
	uint64_t prio;

	if (!kmsg_decimal(p, &prio) || !kmsg_word(p, ",") ||
	    !kmsg_decimal(p, &said->seq) || !kmsg_word(p, ",") ||
	    !kmsg_decimal(p, &said->usec) || !kmsg_word(p, ","))
		return 0;
	/* above are facilities: of programs that write there */
	if (prio > 7 || said->seq > INT64_MAX || said->usec > INT64_MAX / 1000)
		return 0;
	semicolon = kmsg_find(*p, ";");
	newline = kmsg_find(*p, "\n");
	if (!semicolon || (newline && newline < semicolon))
		return 0;
	p->at = semicolon + 1;
	if (newline)
		p->end = newline;
	return 1;
}

/* "{12}" */
static int event_number(struct piece_of *p, uint32_t *ret)
{
	struct piece_of at = *p;
	uint64_t n;

	if (!kmsg_word(&at, "{") || !kmsg_decimal(&at, &n) || n > UINT32_MAX ||
	    !kmsg_word(&at, "}[Hardware Error]: "))
		return 0;
	*p = at;
	*ret = (uint32_t)n;
	return 1;
}

/* Of firmware's errors (arm64) there is no more before it than the frame. */
static int bare(struct piece_of p, struct kmsg_said *said)
{
	if (!frame(&p, said) || !kmsg_word(&p, ": "))
		return 0;
	fate(p, said);
	return said->kind == KMSG_KILLED;
}

static int alone(struct piece_of p, struct kmsg_said *said)
{
	struct piece_of at = p;

	if (kmsg_word(&at, "Memory failure: "))
		return memory_failure(at, said);
	if (kmsg_word(&at, "Unpoison: "))
		return unpoison(at, said);
	if (kmsg_word(&at, "0x"))
		return bare(at, said);
	if (kmsg_word(&at, "MCE: Killing "))
		return killed_again(at, said);
	return offline(p, said) || kmsg_edac(p, said);
}

int kmsg_take(struct kmsg *k, const char *bytes, size_t len,
	      struct kmsg_said *ret)
{
	struct piece_of p = { bytes, bytes + len };
	struct kmsg_said said;
	uint32_t event;

	memset(&said, 0, sizeof(said));
	said.frame = -1;
	if (!head(&p, &said))
		return 0;
	kmsg_add_text(&said, p);
	if (event_number(&p, &event))
		return kmsg_firmware(k, event, p, &said, ret);
	if (kmsg_word(&p, "mce: "))
		return kmsg_mce(k, p, &said, ret);
	if (!alone(p, &said))
		return 0;
	*ret = said;
	return 1;
}
