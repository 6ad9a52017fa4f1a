/* SPDX-License-Identifier: MIT */
/* Faults over time, and how long they took. */
#include "pictures.h"

#include <inttypes.h>
#include <string.h>

#include "../when.h"

#define BILLION	1000000000ll
#define LEFT	60			/* for the numbers of the axis */
#define TOP	40			/* for the legend */
#define HEIGHT	220
#define TICKS	6
#define DATE	75			/* as wide as one */
#define SPAN	44			/* "500 us", of small letters */

static const char *width_words(int64_t s, char ret[32])
{
	static const struct { int64_t s; const char *name; } units[] = {
		{ 86400, "day" }, { 3600, "hour" }, { 60, "minute" },
		{ 1, "second" },
	};
	size_t i = 0;

	while (s % units[i].s)
		i++;
	if (s == units[i].s)
		snprintf(ret, 32, "one %s", units[i].name);
	else
		snprintf(ret, 32, "%" PRId64 " %ss", s / units[i].s,
			 units[i].name);
	return ret;
}

static uint64_t sum(const uint64_t n[FATES])
{
	uint64_t all = 0;
	int i;

	for (i = 0; i < FATES; i++)
		all += n[i];
	return all;
}

/* Where a bar's part ends, so that parts meet without a gap. */
static double part(uint64_t n, uint64_t top)
{
	return (double)n * HEIGHT / (double)top;
}

static void draw_bin(FILE *to, const struct report *r, size_t i, uint64_t top)
{
	double step = (double)(PICTURE_WIDTH - LEFT) / (double)r->bins;
	double x = LEFT + step * (double)i + step / 10;
	uint64_t below = 0;
	char text[WHEN_ROOM];
	int f;

	when_s((r->start_s + (int64_t)i * r->width_s) * BILLION, text);
	for (f = 0; f < FATES; f++) {
		uint64_t n = r->bin[i][f];

		if (!n)
			continue;
		below += n;
		fprintf(to, "<rect class=\"f%d\" x=\"%.1f\" y=\"%.1f\" "
			"width=\"%.1f\" height=\"%.1f\"><title>%s: %" PRIu64
			" ", f, x, TOP + HEIGHT - part(below, top),
			step * 0.8 < 60 ? step * 0.8 : 60, part(n, top), text,
			n);
		html_text(to, fate_words[f].name);
		fputs("</title></rect>\n", to);
	}
}

/* To the right of @x, but not beyond the picture. */
static void draw_date(FILE *to, double x, int y, const char *text)
{
	const int fits = x < PICTURE_WIDTH - DATE;

	fprintf(to, "<text%s x=\"%.1f\" y=\"%d\">%s</text>\n",
		fits ? "" : " class=\"end\"", fits ? x : PICTURE_WIDTH, y,
		text);
}

/* The date, and below it the time if bins are less than a day. */
static void draw_ticks(FILE *to, const struct report *r)
{
	double step = (double)(PICTURE_WIDTH - LEFT) / (double)r->bins;
	size_t every = (r->bins + TICKS - 1) / TICKS, i;
	char text[WHEN_ROOM], *time;

	for (i = 0; i < r->bins; i += every) {
		double x = LEFT + step * (double)i;

		when_s((r->start_s + (int64_t)i * r->width_s) * BILLION, text);
		time = strchr(text, 'T');
		*time++ = '\0';
		fprintf(to, "<path class=\"grid\" d=\"M%.1f %dv6\"/>", x,
			TOP + HEIGHT);
		draw_date(to, x, TOP + HEIGHT + 20, text);
		if (r->width_s < 86400)
			draw_date(to, x, TOP + HEIGHT + 36, time);
	}
}

static void table_of_bins(FILE *to, const struct report *r,
			  const char *caption)
{
	const char *heads[FATES + 2] = { " from" };
	size_t i;
	int f;

	for (f = 0; f < FATES; f++)
		heads[f + 1] = fate_words[f].name;
	table_begin(to, "timeline", caption, heads);
	for (i = 0; i < r->bins; i++) {
		if (!sum(r->bin[i]))
			continue;
		fputs("<tr><th scope=\"row\">", to);
		html_when(to, (r->start_s + (int64_t)i * r->width_s) * BILLION);
		fputs("</th>", to);
		cell_fates(to, r->bin[i], FATES);
		fputs("</tr>\n", to);
	}
	table_end(to);
}

void draw_timeline(FILE *to, const struct report *r)
{
	static const char title[] = "Faults over time, by outcome";
	char width[32], caption[64], first[WHEN_ROOM], last[WHEN_ROOM];
	uint64_t top = 1;
	size_t i;

	for (i = 0; i < r->bins; i++)
		if (sum(r->bin[i]) > top)
			top = sum(r->bin[i]);
	width_words(r->width_s, width);
	snprintf(caption, sizeof(caption), "Faults, in steps of %s", width);
	section_begin(to, "timeline", title, "Each bar is the records of a span "
		      "of time, by what became of the program. Times are of "
		      "UTC.");
	picture_begin(to, "timeline", title, TOP + HEIGHT + 44,
		      "Bars in steps of %s, from %s to %s. The highest stands "
		      "for %" PRIu64 " records. In all: %s %" PRIu64 ", %s %"
		      PRIu64 ", %s %" PRIu64 ", %s %" PRIu64 ", %s %" PRIu64
		      ".", width, when_s(r->first, first),
		      when_s(r->last, last), top,
		      fate_words[0].name, r->fate[0],
		      fate_words[1].name, r->fate[1],
		      fate_words[2].name, r->fate[2],
		      fate_words[3].name, r->fate[3],
		      fate_words[4].name, r->fate[4]);
	picture_patterns(to);
	picture_legend(to, 2);
	picture_grid(to, &top, LEFT, TOP, HEIGHT);
	for (i = 0; i < r->bins; i++)
		draw_bin(to, r, i, top);
	draw_ticks(to, r);
	picture_end(to);
	table_of_bins(to, r, caption);
	section_end(to);
}

/* ---------------------------------------------------------------- the times */

static void bucket_words(size_t i, char ret[96])
{
	char from[32], end[32];

	html_span(i ? report_time_end(i - 1) : 0, from);
	if (i == REPORT_TIMES - 1)
		snprintf(ret, 96, "%s and more", from);
	else
		snprintf(ret, 96, "%s to %s", i ? from : "0",
			 html_span(report_time_end(i), end));
}

/* The end of the bucket below which @of 100 are. */
static const char *below(const struct report *r, unsigned int of, char ret[32])
{
	uint64_t up_to = 0;
	size_t i = 0;

	for (; i < REPORT_TIMES; i++) {
		up_to += r->time[i];
		if (up_to * 100 >= r->times * of)
			break;
	}
	return html_span(i < REPORT_TIMES - 1 ? report_time_end(i) :
						r->longest_ns, ret);
}

static void draw_buckets(FILE *to, const struct report *r, size_t first,
			 size_t last, uint64_t top)
{
	double step = (double)(PICTURE_WIDTH - LEFT) /
		      (double)(last - first + 1);
	char text[96];
	size_t i;

	for (i = first; i <= last; i++) {
		double x = LEFT + step * (double)(i - first);

		/* a bar begins at its number; where it is narrow only decades
		 * have one */
		if (step >= SPAN || i % 3 == 1)
			fprintf(to, "<path class=\"grid\" d=\"M%.1f %dv6\"/>"
				"<text class=\"small\" x=\"%.1f\" y=\"%d\">%s"
				"</text>\n", x, TOP + HEIGHT - 20, x,
				TOP + HEIGHT,
				i ? html_span(report_time_end(i - 1), text) :
				    "0");
		if (!r->time[i])
			continue;
		bucket_words(i, text);
		fprintf(to, "<rect class=\"one\" x=\"%.1f\" y=\"%.1f\" "
			"width=\"%.1f\" height=\"%.1f\"><title>%s: %" PRIu64
			"</title></rect>\n", x + 1, TOP - 20 + HEIGHT -
			part(r->time[i], top), step - 2, part(r->time[i], top),
			text, r->time[i]);
	}
}

static void table_of_times(FILE *to, const struct report *r, size_t first,
			   size_t last)
{
	static const char *const heads[] = { " time", "records", NULL };
	char text[96];
	size_t i;

	table_begin(to, "times", "Records by time taken", heads);
	for (i = first; i <= last; i++) {
		bucket_words(i, text);
		fprintf(to, "<tr><th scope=\"row\">%s</th>", text);
		cell_number(to, r->time[i]);
		fputs("</tr>\n", to);
	}
	table_end(to);
}

void draw_times(FILE *to, const struct report *r)
{
	static const char title[] = "From fault to resumption";
	static const char text[] = "How long threads were kept by faults that "
		"they went on from. The scale is of 1, 2, 5, 10 and so on.";
	size_t first = 0, last = REPORT_TIMES - 1, i;
	char half[32], most[32], all[32];
	uint64_t top = 1;

	if (!r->times) {
		section_empty(to, "times", title, "No thread went on.");
		return;
	}
	while (!r->time[first])
		first++;
	while (!r->time[last])
		last--;
	for (i = first; i <= last; i++)
		if (r->time[i] > top)
			top = r->time[i];
	section_begin(to, "times", title, text);
	picture_begin(to, "times", title, TOP + HEIGHT + 10, "%" PRIu64
		      " times. Half of them are less than %s, 99 of 100 less "
		      "than %s; the longest is %s.", r->times,
		      below(r, 50, half), below(r, 99, most),
		      html_span(r->longest_ns, all));
	picture_grid(to, &top, LEFT, TOP - 20, HEIGHT);
	draw_buckets(to, r, first, last, top);
	picture_end(to);
	table_of_times(to, r, first, last);
	section_end(to);
}
