/* SPDX-License-Identifier: MIT */
/* The page from its head to its end. */
#include "pictures.h"

#include <bezoar/bezoar.h>
#include <inttypes.h>
#include <time.h>

#include "../catalogue.h"

#define BILLION 1000000000ll

static void head(FILE *to)
{
	/* whatever a name might have become: nothing is run, nothing fetched */
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
	      "<meta charset=\"utf-8\"/>\n"
	      "<meta http-equiv=\"Content-Security-Policy\" "
	      "content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
	      "<meta name=\"viewport\" content=\"width=device-width\"/>\n"
	      "<meta name=\"color-scheme\" content=\"light dark\"/>\n"
	      "<title>Lost memory, and what became of it</title>\n<style>\n", to);
	fputs(report_style, to);
	fputs("</style>\n</head>\n<body>\n", to);
}

static void summary(FILE *to, const struct report *r)
{
	uint64_t losses = r->records - r->fate[FATE_OTHER];
	int f;

	fputs("<header>\n<h1>Lost memory, and what became of it</h1>\n<p>", to);
	fprintf(to, "%" PRIu64 " records of <code>", r->records);
	html_text(to, r->store);
	fputs("</code>", to);
	if (r->since) {
		fputs(", of what was after ", to);
		html_when(to, r->since);
	}
	if (r->records) {
		fputs(": from ", to);
		html_when(to, r->first);
		fputs(" to ", to);
		html_when(to, r->last);
	}
	fputs(".</p>\n", to);
	if (r->unread)
		fprintf(to, "<p><strong>%" PRIu64 " rows are no whole record, and "
			"are not in here.</strong></p>\n", r->unread);
	fprintf(to, "<p>%" PRIu64 " of them are of a loss. What became of the "
		"programs:</p>\n<dl class=\"sums\">\n",
		losses);
	for (f = 0; f < FATES; f++) {
		fprintf(to, "<div><dt>");
		html_text(to, fate_words[f].name);
		fprintf(to, "</dt><dd><b>%" PRIu64 "</b> ", r->fate[f]);
		html_text(to, fate_words[f].means);
		fputs("</dd></div>\n", to);
	}
	fputs("</dl>\n</header>\n", to);
}

static void contents(FILE *to)
{
	static const char *const links[][2] = {
		{ "timeline", "over time" }, { "outcomes", "outcomes" },
		{ "regions", "by region" }, { "frames", "by page frame" },
		{ "modules", "by memory module" }, { "times", "times" },
		{ "deaths", "deaths" }, { "kernel", "the kernel" },
		{ "codes", "what the codes mean" },
	};
	size_t i;

	fputs("<nav aria-label=\"Sections\"><ul>\n", to);
	for (i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		fprintf(to, "<li><a href=\"#%s\">%s</a></li>\n", links[i][0],
			links[i][1]);
	fputs("</ul></nav>\n", to);
}

static void explain(FILE *to, const struct entry *e)
{
	static const char *const heads[] = {
		"what happened", "what it means", "do now", "do later",
	};
	const char *texts[] = { e->happened, e->means, entry_now(e), e->later };
	char code[8];
	size_t i;

	entry_code(e, code);
	fprintf(to, "<article id=\"%s\"><h3>%s: ", code, code);
	html_text(to, entry_name(e));
	fprintf(to, " <code>BEZ_%s_%s</code></h3>\n<dl>\n",
		e->kind == 'O' ? "OUTCOME" : "CAUSE", e->symbol);
	for (i = 0; i < 4; i++) {
		fprintf(to, "<dt>%s</dt><dd>", heads[i]);
		html_text(to, texts[i]);
		fputs("</dd>\n", to);
	}
	fputs("</dl></article>\n", to);
}

/* Of what is in the store, in the order of the catalogue. */
void write_explanations(FILE *to, const struct report *r)
{
	size_t i;

	fputs("<section id=\"codes\" aria-labelledby=\"codes-h\">\n"
	      "<h2 id=\"codes-h\">What the codes mean</h2>\n", to);
	for (i = 0; i < catalogue_entries; i++) {
		const struct entry *e = &catalogue[i];
		unsigned int n = e->number;

		if (n < REPORT_CODES &&
		    (e->kind == 'O' ? r->outcome[n] || r->why[n] : r->cause[n]))
			explain(to, e);
	}
	fputs("</section>\n", to);
}

static void foot(FILE *to)
{
	fprintf(to, "<footer><p>Made by bezoar %s at ", bez_version());
	html_when(to, (int64_t)time(NULL) * BILLION);
	fputs(".</p></footer>\n</body>\n</html>\n", to);
}

void report_page(FILE *to, const struct report *r)
{
	head(to);
	summary(to, r);
	contents(to);
	fputs("<main>\n", to);
	if (r->records) {
		draw_timeline(to, r);
		draw_outcomes(to, r);
	} else {
		section_empty(to, "timeline", "Faults over time, by outcome",
			      "There are no records.");
		section_empty(to, "outcomes", "Outcomes",
			      "There are no records.");
	}
	draw_regions(to, r);
	draw_frames(to, r);
	draw_modules(to, r);
	draw_times(to, r);
	draw_deaths(to, r);
	draw_kernel(to, r);
	write_explanations(to, r);
	fputs("</main>\n", to);
	foot(to);
}
