/* SPDX-License-Identifier: MIT */
/*
 * What is said of hardware: by EDAC's drivers, of which one line is one error; by
 * firmware (APEI), whose lines belong together by a number in braces; and by the
 * machine checks themselves, where nobody decodes them.
 */
#include <string.h>

#include "kmsg_in.h"

#define LINES_MOST	64		/* of one event */

/* Bits of MCi_STATUS. */
#define STATUS_UC	(1ull << 61)
#define STATUS_ADDRV	(1ull << 58)

uint64_t kmsg_page = 4096;

static void address(struct kmsg_said *said, uint64_t addr)
{
	said->frame = (int64_t)(addr / kmsg_page);
}

/* ---------------------------------------------------------------------- EDAC */

/* Behind @key, in hexadecimal. */
static int hex_of(struct piece_of p, const char *key, uint64_t *ret)
{
	const char *at = kmsg_find(p, key);

	if (!at)
		return 0;
	p.at = at + strlen(key);
	return kmsg_hex(&p, ret);
}

static int is_all(const char *from, const char *end, const char *word)
{
	size_t len = strlen(word);

	return (size_t)(end - from) == len && !memcmp(from, word, len);
}

/* Where "(channel:0 ...", "(DIMM location:..." or "( page:..." begins. A label may
 * have parentheses of its own. */
static const char *details(struct piece_of p)
{
	const char *at;

	for (; (at = kmsg_find(p, " (")); p.at = at + 1) {
		struct piece_of in = { at + 2, p.end };

		if (kmsg_word(&in, " page:0x") || kmsg_word(&in, "DIMM "))
			return at;
		while (in.at < in.end && *in.at >= 'a' && *in.at <= 'z')
			in.at++;
		if (in.at > at + 2 && kmsg_word(&in, ":"))
			return at;
	}
	return NULL;
}

/* "on LABEL (place page:0x12 offset:0x40 grain:32 ...)". Where the address is not
 * known, both numbers are 0. */
static int place(struct piece_of p, struct kmsg_said *said)
{
	const char *from = kmsg_find(p, " on "), *end;
	uint64_t page, offset = 0;

	if (!from)
		return 0;
	p.at = from += 4;
	end = details(p);
	if (!end)
		return 0;
	p.at = end;
	if (!hex_of(p, "page:0x", &page) || page >> 52 ||
	    !hex_of(p, "offset:0x", &offset) || !kmsg_find(p, " grain:"))
		return 0;
	if (page || offset)
		said->frame = (int64_t)page;
	if (!is_all(from, end, "any memory") &&
	    !is_all(from, end, "unknown memory"))
		kmsg_name_dimm(said, from, end);
	return 1;
}

/* "EDAC MC0: 1 UE memory read error on DIMM_A1 (...)" */
int kmsg_edac(struct piece_of p, struct kmsg_said *said)
{
	uint64_t n;

	if (!kmsg_word(&p, "EDAC MC") || !kmsg_decimal(&p, &n) ||
	    !kmsg_word(&p, ": ") || !kmsg_decimal(&p, &n))
		return 0;
	if (kmsg_word(&p, " UE"))
		said->kind = KMSG_UNCORRECTED;
	else if (kmsg_word(&p, " CE"))
		said->kind = KMSG_CORRECTED;
	else
		return 0;
	/* a process may be called so, and crash: "NAME[12]: segfault at ...", or want
	 * memory: "NAME invoked oom-killer: ..." */
	if (p.end - p.at < 2 || p.at[0] != ' ' ||
	    !((p.at[1] | 0x20) >= 'a' && (p.at[1] | 0x20) <= 'z') ||
	    p.end[-1] != ')')
		return 0;
	return place(p, said);
}

/* ------------------------------------------------------------------ firmware */

static int is_worth(const struct kmsg *k)
{
	return k->is_open && k->is_memory;
}

/* The section is over; what is behind it belongs to the same event. */
static int section_over(struct kmsg *k, struct kmsg_said *ret)
{
	int worth = is_worth(k);

	if (worth)
		*ret = k->said;
	k->is_memory = 0;
	k->has_label = 0;
	memset(&k->said, 0, sizeof(k->said));
	k->said.frame = -1;
	return worth;
}

/* "DIMM location: P1-DIMMA1 BANK 0", or what it says where there is no name. */
static void label(struct kmsg *k, struct piece_of p)
{
	static const char none[] = "not present. DMI handle: ";

	if (kmsg_word(&p, none))
		p.at -= strlen("DMI handle: ");
	kmsg_name_dimm(&k->said, p.at, p.end);
	k->has_label = 1;
}

/* "node:0 card:1 module:2 rank:0 ...": as far as it names the module. */
static void where(struct kmsg *k, struct piece_of p)
{
	const char *module = kmsg_find(p, "module:"), *end;

	if (!module || k->said.dimm[0])
		return;
	for (end = module; end < p.end && *end != ' '; end++)
		;
	kmsg_name_dimm(&k->said, p.at, end);
}

/* The others are "recoverable" and "fatal". */
static void severity(struct kmsg_said *said, struct piece_of p)
{
	said->kind = kmsg_word(&p, "corrected") || kmsg_word(&p, "info") ?
		     KMSG_CORRECTED : KMSG_UNCORRECTED;
}

static void in_section(struct kmsg *k, struct piece_of p,
		       const struct kmsg_said *line)
{
	uint64_t n;

	if (kmsg_word(&p, "section_type: memory error"))
		k->is_memory = 1;
	else if (kmsg_word(&p, "fru_text: ") && !k->has_label)
		kmsg_name_dimm(&k->said, p.at, p.end);
	else if (kmsg_word(&p, "physical_address: 0x") && kmsg_hex(&p, &n))
		address(&k->said, n);
	else if (kmsg_word(&p, "DIMM location: "))
		label(k, p);
	else if (kmsg_find(p, "module:") && !k->has_label)
		where(k, p);
	if (!k->said.len) {
		k->said.seq = line->seq;
		k->said.usec = line->usec;
	}
	kmsg_add_text(&k->said, (struct piece_of){ line->text,
						   line->text + line->len });
}

static void event_begins(struct kmsg *k, uint32_t event)
{
	k->is_open = 1;
	k->event = event;
	k->lines = 0;
}

int kmsg_firmware(struct kmsg *k, uint32_t event, struct piece_of p,
		  const struct kmsg_said *line, struct kmsg_said *ret)
{
	int worth = 0;
	uint64_t n;

	if (!k->is_open || k->event != event || k->lines++ >= LINES_MOST) {
		worth = section_over(k, ret);
		event_begins(k, event);
	}
	while (kmsg_word(&p, " "))
		;
	/* "Error 0, type: corrected" */
	if (kmsg_word(&p, "Error ") && kmsg_decimal(&p, &n) &&
	    kmsg_word(&p, ", type: ")) {
		/* if one was over above there is none any more */
		worth |= section_over(k, ret);
		severity(&k->said, p);
	}
	in_section(k, p, line);
	return worth;
}

/* ------------------------------------------------------------- machine checks */

/* Does the address of this one name memory? Intel's codes of memory controllers, and
 * of what is met by a load, an instruction, or written back. */
static int is_of_memory(uint64_t status)
{
	uint64_t code = status & 0xffff;

	return (status & STATUS_ADDRV) &&
	       ((code & 0xef80) == 0x80 || code == 0x134 || code == 0x150 ||
		code == 0x17a);
}

/* "CPU 1: Machine Check: 0 Bank 7: 9c00004000010091" */
static int bank(struct kmsg *k, struct piece_of p, struct kmsg_said *line)
{
	uint64_t n;

	if (!kmsg_word(&p, "CPU ") || !kmsg_decimal(&p, &n) ||
	    !kmsg_word(&p, ": Machine Check"))
		return 0;
	kmsg_word(&p, " Exception");
	if (!kmsg_word(&p, ": ") || !kmsg_hex(&p, &n) ||
	    !kmsg_word(&p, " Bank ") || !kmsg_decimal(&p, &n) ||
	    !kmsg_word(&p, ": ") || !kmsg_hex(&p, &k->status))
		return 0;
	k->is_bank = 1;
	k->bank = *line;
	k->bank.kind = k->status & STATUS_UC ? KMSG_UNCORRECTED :
					       KMSG_CORRECTED;
	return 1;
}

int kmsg_mce(struct kmsg *k, struct piece_of p, struct kmsg_said *line,
	     struct kmsg_said *ret)
{
	uint64_t n;

	if (kmsg_word(&p, "Uncorrected hardware memory error in user-access at ")) {
		if (!kmsg_hex(&p, &n))
			return 0;
		line->kind = KMSG_UNCORRECTED;
		address(line, n);
		*ret = *line;
		return 1;
	}
	if (!kmsg_word(&p, "[Hardware Error]: ") || bank(k, p, line) ||
	    !k->is_bank)
		return 0;
	/* "TSC 0 ADDR 3fe7b1c940 MISC ..." */
	if (!kmsg_word(&p, "TSC "))
		return 0;
	k->is_bank = 0;
	if (!is_of_memory(k->status) || !hex_of(p, " ADDR ", &n))
		return 0;
	address(&k->bank, n);
	kmsg_add_text(&k->bank, (struct piece_of){ line->text,
						   line->text + line->len });
	*ret = k->bank;
	return 1;
}

int kmsg_waits(const struct kmsg *k)
{
	return k->is_open;
}

int kmsg_over(struct kmsg *k, struct kmsg_said *ret)
{
	int worth = section_over(k, ret);

	k->is_open = 0;
	return worth;
}
