/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <math.h>

bool report_met(const struct bench_question *question,
		const struct bench_result *result)
{
	/* Comparisons with NAN are false. */
	return question->at_least ? result->ratio >= question->target
				  : result->ratio <= question->target;
}

void report_head(FILE *out)
{
	fprintf(out, "clock %.0f ns (taken off each span), a loop against "
		"itself %.3f, %u processors\n\n",
		bench_calibration.clock_ns, bench_calibration.same,
		bench_cpus());
	fprintf(out, "%-14s %12s %12s %-8s %7s %8s  %s\n", "question", "ours",
		"reference", "unit", "ratio", "target", "met");
}

/* Indented, broken between words. */
static void paragraph(FILE *out, const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t word = 0;

		while (text[word] && text[word] != ' ')
			word++;
		if (column == 0 || column + 1 + word > 76) {
			fprintf(out, "%s    ", column ? "\n" : "");
			column = 4;
		} else {
			fputc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", (int)word, text);
		column += word;
		text += word;
		while (*text == ' ')
			text++;
	}
	fputc('\n', out);
}

static void number(FILE *out, int width, int places, double value)
{
	if (isfinite(value))
		fprintf(out, " %*.*f", width, places, value);
	else
		fprintf(out, " %*s", width, "-");
}

void report_row(FILE *out, const struct bench_question *question,
		const struct bench_result *result)
{
	fprintf(out, "%-14s", question->name);
	number(out, 12, 1, result->ours);
	number(out, 12, 1, result->reference);
	fprintf(out, " %-8s", question->unit);
	number(out, 7, 3, result->ratio);
	fprintf(out, "  %s %5.2f  %s\n", question->at_least ? ">=" : "<=",
		question->target, report_met(question, result) ? "yes" : "NO");
	paragraph(out, result->how);
	fflush(out);
}

static void json_string(FILE *out, const char *name, const char *text)
{
	fprintf(out, "\"%s\": \"", name);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < ' ')
			fprintf(out, "\\u%04x", (unsigned char)*text);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

static void json_number(FILE *out, const char *name, double value)
{
	if (isfinite(value))
		fprintf(out, "\"%s\": %.6g", name, value);
	else
		fprintf(out, "\"%s\": null", name);
}

void report_json(FILE *out, const struct bench_question *const *questions,
		 const struct bench_result *results, size_t count)
{
	fputs("[", out);
	for (size_t i = 0; i < count; i++) {
		fputs(i ? ",\n  { " : "\n  { ", out);
		json_string(out, "name", questions[i]->name);
		fputs(", ", out);
		json_number(out, "ours", results[i].ours);
		fputs(", ", out);
		json_number(out, "reference", results[i].reference);
		fputs(", ", out);
		json_number(out, "ratio", results[i].ratio);
		fputs(",\n    ", out);
		json_string(out, "unit", questions[i]->unit);
		fputs(", ", out);
		json_number(out, "target", questions[i]->target);
		fprintf(out, ", \"met\": %s,\n    ",
			report_met(questions[i], &results[i]) ? "true"
							      : "false");
		json_string(out, "how", results[i].how);
		fputs(" }", out);
	}
	fputs("\n]\n", out);
}
