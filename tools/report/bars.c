/* SPDX-License-Identifier: MIT */
/* Bars that lie, one for each of a kind, and the table beside them. */
#include "pictures.h"

#include <bezoar/bezoar.h>
#include <inttypes.h>
#include <string.h>

#include "../catalogue.h"

#define LABEL	240			/* for the label, left of the bars */
#define NUMBER	60			/* for the number, right of them */
#define BARS	(PICTURE_WIDTH - LABEL - NUMBER)
#define LINE	26
#define LETTERS	32			/* of a label, in the picture */
#define LETTER	12			/* is their size, as style.c has it */

struct kind {
	const char *id, *title, *text, *empty, *caption;
	const char *name;		/* heads of the columns */
	const char *what;		/* is counted */
	const char *extra, *note;	/* NULL: there is none */
	int by_fate;
};

/* What it takes at most, in hundredths of the size of its letters. Whose page is read, has
 * whichever font: one of the widest is taken for it. */
static unsigned int width_of(const char *text)
{
	unsigned int sum = 0;

	for (; *text; text++)
		sum += strchr("fijlrtIJ .,:;'`|!()[]/-\"\\", *text) ? 46 :
		       strchr("mwMW@%#&<>=+~^", *text) ? 100 :
		       *text >= 'A' && *text <= 'Z' ? 79 : 64;
	return sum;
}

/* Modules differ in their last letters: what is long is drawn narrower, not cut. */
static void draw_label(FILE *to, const char *label, unsigned int y)
{
	char text[LETTERS + 1];
	size_t len = strlen(label), keep = len > LETTERS ? LETTERS - 1 : len;

	memcpy(text, label, keep);
	text[keep] = '\0';
	fprintf(to, "<text class=\"end\" x=\"%d\" y=\"%u\"", LABEL - 8, y);
	if ((width_of(text) + (len > LETTERS) * 100) * LETTER > (LABEL - 8) * 100)
		fprintf(to, " textLength=\"%d\" lengthAdjust=\"spacingAndGlyphs\"",
			LABEL - 8);
	fputs(">", to);
	html_text(to, text);
	fprintf(to, "%s</text>", len > LETTERS ? "&#8230;" : "");
}

static void draw_part(FILE *to, const char *class, int number, uint64_t from,
		      uint64_t n, uint64_t top, unsigned int y)
{
	fprintf(to, "<rect class=\"%s", class);
	if (number >= 0)
		fprintf(to, "%d", number);
	fprintf(to, "\" x=\"%.1f\" y=\"%u\" width=\"%.1f\" height=\"%d\"><title>"
		"%" PRIu64 "%s%s</title></rect>\n",
		LABEL + (double)from * BARS / (double)top, y,
		(double)n * BARS / (double)top, LINE - 8, n,
		number >= 0 ? " " : "", number >= 0 ? fate_words[number].name : "");
}

static void draw_row(FILE *to, const struct row *row, int by_fate,
		     uint64_t top, unsigned int y)
{
	uint64_t from = 0;
	int f;

	draw_label(to, row->label, y + 14);
	for (f = 0; f < FATES && by_fate; f++) {
		if (row->n[f])
			draw_part(to, "f", f, from, row->n[f], top, y);
		from += row->n[f];
	}
	if (!by_fate && row->total)
		draw_part(to, "one", -1, 0, row->total, top, y);
	fprintf(to, "<text x=\"%.1f\" y=\"%u\">%" PRIu64 "</text>\n",
		LABEL + (double)row->total * BARS / (double)top + 6, y + 14,
		row->total);
}

static void table_of_rows(FILE *to, const struct kind *k,
			  const struct rows *rows)
{
	const char *heads[FATES + 6] = { k->name, k->what };
	size_t n = 2, i;
	int f;

	for (f = 0; f < FATE_OTHER && k->by_fate; f++)
		heads[n++] = fate_words[f].name;
	if (k->extra)
		heads[n++] = k->extra;
	if (k->note)
		heads[n++] = k->note;
	heads[n] = " last";
	table_begin(to, k->id, k->caption, heads);
	for (i = 0; i < rows->count; i++) {
		const struct row *row = &rows->row[i];

		fputs("<tr><th scope=\"row\">", to);
		html_text(to, row->label);
		fputs("</th>", to);
		cell_number(to, row->total);
		if (k->by_fate)
			cell_fates(to, row->n, FATE_OTHER);
		if (k->extra)
			cell_number(to, row->extra);
		if (k->note)
			cell_text(to, row->note);
		cell_when(to, row->last);
		fputs("</tr>\n", to);
	}
	if (rows->more) {
		fprintf(to, "<tr><th scope=\"row\">%" PRIu64 " others</th>",
			rows->more);
		cell_number(to, rows->more_total);
		fprintf(to, "<td colspan=\"%zu\"></td></tr>\n", n - 1);
	}
	table_end(to);
}

static void draw_rows(FILE *to, const struct kind *k, const struct rows *rows)
{
	unsigned int y = k->by_fate ? 32 : 4;
	uint64_t top = 1, all = rows->more_total;
	size_t i, longest = 0;

	if (!rows->count) {
		section_empty(to, k->id, k->title, k->empty);
		return;
	}
	for (i = 0; i < rows->count; i++) {
		all += rows->row[i].total;
		if (rows->row[i].total > top)
			top = rows->row[i].total;
		if (rows->row[i].total > rows->row[longest].total)
			longest = i;
	}
	section_begin(to, k->id, k->title, k->text);
	picture_begin(to, k->id, k->title,
		      y + LINE * (unsigned int)rows->count + 4,
		      "%zu bars, %" PRIu64 " %s. The longest, %s, stands for "
		      "%" PRIu64 ".%s", rows->count, all, k->what,
		      rows->row[longest].label, rows->row[longest].total,
		      rows->more ? " Others are only in the table." : "");
	if (k->by_fate)
		picture_legend(to, 2);
	for (i = 0; i < rows->count; i++)
		draw_row(to, &rows->row[i], k->by_fate, top,
			 y + LINE * (unsigned int)i);
	picture_end(to);
	table_of_rows(to, k, rows);
	section_end(to);
}

void draw_regions(FILE *to, const struct report *r)
{
	static const struct kind kind = {
		.id = "regions", .title = "Losses by region",
		.text = "Which program has lost something, and of which region. "
			"What several threads met, or what has a second record of "
			"its end, counts each time.",
		.empty = "Nothing was lost.",
		.caption = "Losses by program and region", .name = " region",
		.what = "losses",
		.by_fate = 1,
	};

	draw_rows(to, &kind, &r->regions);
}

void draw_frames(FILE *to, const struct report *r)
{
	static const struct kind kind = {
		.id = "frames", .title = "Losses by page frame",
		.text = "Where in the machine. The same frame again, after "
			"another boot, is memory that wants to be exchanged.",
		.empty = "No record names a page frame: most processes may not "
			 "ask for it, and the kernel's log was not read.",
		.caption = "Losses by page frame", .name = " frame",
		.what = "losses",
		.extra = "boots", .note = " module", .by_fate = 1,
	};

	draw_rows(to, &kind, &r->frames);
}

void draw_modules(FILE *to, const struct report *r)
{
	static const struct kind kind = {
		.id = "modules", .title = "Losses by memory module (DIMM)",
		.text = "As the kernel's log names it.",
		.empty = "Nothing is known of memory modules: the kernel has "
			 "named none, or its log was not read.",
		.caption = "Losses by memory module", .name = " module",
		.what = "losses",
		.extra = "frames", .by_fate = 1,
	};

	draw_rows(to, &kind, &r->modules);
}

void draw_kernel(FILE *to, const struct report *r)
{
	static const struct kind kind = {
		.id = "kernel", .title = "What the kernel has said",
		.text = "Lines of its log about memory, by kind.",
		.empty = "Nothing, or its log was not read.",
		.caption = "Lines of the kernel's log by kind", .name = " kind",
		.what = "lines",
		.extra = "frames",
	};

	draw_rows(to, &kind, &r->kernel);
}

/* The latest, one by one. */
static void table_of_deaths(FILE *to, const struct report *r)
{
	static const char *const heads[] = {
		" when", " program", "process", "user", " how", "record", NULL
	};
	size_t i;

	table_begin(to, "latest", "The latest", heads);
	for (i = 0; i < r->deaths; i++) {
		const struct death *d = &r->death[i];

		fputs("<tr>", to);
		cell_when(to, d->taken);
		cell_text(to, d->comm);
		fprintf(to, "<td class=\"n\">%d</td>", d->pid);
		cell_number(to, d->uid);
		cell_text(to, d->how);
		if (d->told)
			fprintf(to, "<td class=\"n\">R%" PRId64 "</td>",
				d->told);
		else
			fputs("<td class=\"n\">none</td>", to);
		fputs("</tr>\n", to);
	}
	table_end(to);
}

void draw_deaths(FILE *to, const struct report *r)
{
	static const struct kind kind = {
		.id = "deaths", .title = "Deaths",
		.text = "Processes that were connected to the daemon, and have "
			"ended. A record is shown by: bezoar explain R, "
			"followed by its number.",
		.empty = "None is known: nobody died, or the store is of a version "
			 "that notes no deaths.",
		.caption = "Deaths by their end", .name = " end",
		.what = "deaths",
	};

	if (!r->deaths) {
		section_empty(to, kind.id, kind.title, kind.empty);
		return;
	}
	draw_rows(to, &kind, &r->ends);
	fputs("<section aria-labelledby=\"latest-c\">\n", to);
	table_of_deaths(to, r);
	fputs("</section>\n", to);
}

/* -------------------------------------------------------------- the outcomes */

/* Most first, up to as many as there is room for. */
static void most(const struct report *r, struct rows *ret)
{
	uint64_t left[REPORT_CODES];
	unsigned int i, best;

	memset(ret, 0, sizeof(*ret));
	memcpy(left, r->outcome, sizeof(left));
	for (;;) {
		for (best = i = 0; i < REPORT_CODES; i++)
			if (left[i] > left[best])
				best = i;
		if (!left[best])
			return;
		if (ret->count < REPORT_ROWS) {
			struct row *row = &ret->row[ret->count++];

			snprintf(row->label, sizeof(row->label), "%s (O%u)",
				 bez_outcome_name((enum bez_outcome)best),
				 best);
			row->total = left[best];
			row->n[fate_of(best)] = left[best];
		} else {
			ret->more++;
			ret->more_total += left[best];
		}
		left[best] = 0;
	}
}

static void table_of_outcomes(FILE *to, const struct report *r)
{
	static const char *const heads[] = {
		" code", " outcome", "records", " what became of the program",
		NULL
	};
	unsigned int i;

	table_begin(to, "outcomes", "Records by outcome", heads);
	for (i = 0; i < REPORT_CODES; i++) {
		if (!r->outcome[i])
			continue;
		fputs("<tr><th scope=\"row\">", to);
		/* one that has no entry has nothing to lead to */
		if (entry_of('O', i))
			fprintf(to, "<a href=\"#O%u\">O%u</a>", i, i);
		else
			fprintf(to, "O%u", i);
		fputs("</th>", to);
		cell_text(to, bez_outcome_name((enum bez_outcome)i));
		cell_number(to, r->outcome[i]);
		cell_text(to, fate_words[fate_of(i)].name);
		fputs("</tr>\n", to);
	}
	if (r->later) {
		fputs("<tr><th scope=\"row\">later</th><td>of a later version "
		      "than this</td>", to);
		cell_number(to, r->later);
		cell_text(to, fate_words[FATE_OTHER].name);
		fputs("</tr>\n", to);
	}
	table_end(to);
}

void draw_outcomes(FILE *to, const struct report *r)
{
	static const char title[] = "Outcomes";
	struct rows rows;
	uint64_t top;
	size_t i;

	most(r, &rows);
	section_begin(to, "outcomes", title, "Each record has one. The codes "
		      "lead to what they mean.");
	top = rows.count ? rows.row[0].total : 1;
	picture_begin(to, "outcomes", title,
		      LINE * (unsigned int)rows.count + 36,
		      "%zu bars. The longest, %s, stands for %" PRIu64
		      " records.", rows.count, rows.row[0].label, top);
	picture_legend(to, 2);
	for (i = 0; i < rows.count; i++)
		draw_row(to, &rows.row[i], 1, top,
			 32 + LINE * (unsigned int)i);
	picture_end(to);
	table_of_outcomes(to, r);
	section_end(to);
}
