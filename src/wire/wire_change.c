/*-------------------------------------------------------------------------
 *
 * wire_change.c
 *		A change as the JSON object that its readers are sent.
 *
 * Pure, but for the values that its source still has to write.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "wire/wire.h"

#include "utils/memutils.h"

#include "base/json_out.h"

/* A buffer that has grown beyond this is given back. */
#define TEXT_KEEP (64 * 1024)

/* Which values of a row are written. */
typedef enum RowPart
{
	ROW_NONE,
	ROW_KEY,
	ROW_WHOLE
} RowPart;

static void write_head(StringInfo out, const WireTransaction *txn,
					   const WireChange *change, const WireView *view);
static void write_rows(StringInfo out, const WireChange *change,
					   const WireView *view, bool key_only);
static void write_row(StringInfo out, const WireRelation *relation,
					  const WireValue *row, RowPart part,
					  const Bitmapset *columns);
static void write_value(StringInfo out, const WireColumn *column,
						const WireValue *value);
static bool has_state(const WireChange *change, const WireView *view,
					  const WireValue *row, int column, WireState state);
static bool any_too_large(const WireChange *change, const WireView *view);

const char *
plinth_wire_action_name(WireAction action)
{
	switch (action)
	{
		case WIRE_INSERT:
			return "INSERT";
		case WIRE_UPDATE:
			return "UPDATE";
		case WIRE_DELETE:
			return "DELETE";
		case WIRE_TRUNCATE:
			return "TRUNCATE";
		case WIRE_MESSAGE:
			return "broadcast";
		case WIRE_PRESENCE:
			return "presence";
	}
	return "";
}

int
plinth_wire_column(const WireRelation *relation, AttrNumber number)
{
	/* live columns keep their order, so a column is at most at its number */
	for (int i = Min(number, relation->ncolumns) - 1; i >= 0; i--)
		if (relation->columns[i].number == number)
			return i;
	return -1;
}

const char *
plinth_wire_text(const WireColumn *column, const WireValue *value, uint32 *length)
{
	static StringInfoData text = {0};

	if (value->made != NULL)
	{
		*length = value->made_length;
		return value->made;
	}

	/* what is kept of the thousands of a turn is as short as can be */
	if (text.data == NULL || text.maxlen > TEXT_KEEP)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

		if (text.data != NULL)
			pfree(text.data);
		text.data = NULL;
		initStringInfo(&text);
		MemoryContextSwitchTo(old_context);
	}
	resetStringInfo(&text);
	column->write_text(&text, column, value->datum);
	*length = text.len;
	return memcpy(palloc((Size) text.len + 1), text.data, (Size) text.len + 1);
}

void
plinth_wire_write_change(StringInfo out, const WireTransaction *txn,
						 const WireChange *change, const WireView *view,
						 Size limit)
{
	int start = out->len;
	bool too_large = any_too_large(change, view);

	write_head(out, txn, change, view);
	if (!too_large)
	{
		int rows = out->len;

		write_rows(out, change, view, false);
		if ((Size) (out->len - start) > limit)
		{
			out->len = rows;
			out->data[rows] = '\0';
			too_large = true;
		}
	}
	if (too_large)
		write_rows(out, change, view, true);
	plinth_json_name(out, "errors");
	appendStringInfoString(out, too_large ? "[\"too large\"]}" : "null}");
}

/*
 * Everything that does not depend on the row's values.
 */
static void
write_head(StringInfo out, const WireTransaction *txn, const WireChange *change,
		   const WireView *view)
{
	const WireRelation *relation = change->relation;

	appendStringInfoCharMacro(out, '{');
	plinth_json_name(out, "eventType");
	appendStringInfo(out, "\"%s\"", plinth_wire_action_name(view->action));
	plinth_json_name(out, "schema");
	plinth_json_string(out, relation->schema, strlen(relation->schema));
	plinth_json_name(out, "table");
	plinth_json_string(out, relation->table, strlen(relation->table));
	plinth_json_name(out, "commit_timestamp");
	plinth_json_time(out, txn->commit_time);
	plinth_json_name(out, "lsn");
	appendStringInfo(out, "\"%X/%X\"", LSN_FORMAT_ARGS(txn->commit_lsn));

	plinth_json_name(out, "columns");
	appendStringInfoCharMacro(out, '[');
	for (int i = 0; i < relation->ncolumns; i++)
	{
		const WireColumn *column = &relation->columns[i];

		if (!bms_is_member(column->number, view->columns))
			continue;
		plinth_json_comma(out);
		appendStringInfoCharMacro(out, '{');
		plinth_json_name(out, "name");
		plinth_json_string(out, column->name, strlen(column->name));
		plinth_json_name(out, "type");
		plinth_json_string(out, column->type_name, strlen(column->type_name));
		appendStringInfoCharMacro(out, '}');
	}
	appendStringInfoCharMacro(out, ']');
}

/*
 * new, old, and the names of the columns whose new value is not known.
 */
static void
write_rows(StringInfo out, const WireChange *change, const WireView *view,
		   bool key_only)
{
	const WireRelation *relation = change->relation;
	const WireValue *old_row = change->old_row;
	RowPart new_part = key_only ? ROW_KEY : ROW_WHOLE;
	RowPart old_part;

	/* to those whom a row leaves, its new form is nobody's business */
	if (view->action == WIRE_DELETE || view->action == WIRE_TRUNCATE)
		new_part = ROW_NONE;

	if (view->old_part == WIRE_OLD_NONE || view->action == WIRE_INSERT ||
		view->action == WIRE_TRUNCATE)
		old_part = ROW_NONE;
	else if (key_only || view->old_part == WIRE_OLD_KEY)
		old_part = ROW_KEY;
	else
		old_part = ROW_WHOLE;

	/* the WAL has no old row of an UPDATE that left the key as it was */
	if (old_row == NULL && change->action == WIRE_UPDATE && old_part != ROW_NONE)
	{
		old_row = change->new_row;
		old_part = ROW_KEY;
	}

	plinth_json_name(out, "new");
	write_row(out, relation, change->new_row, new_part, view->columns);
	plinth_json_name(out, "old");
	write_row(out, relation, old_row, old_part, view->columns);

	plinth_json_name(out, "unchanged");
	appendStringInfoCharMacro(out, '[');
	if (new_part == ROW_WHOLE)
		for (int i = 0; i < relation->ncolumns; i++)
			if (has_state(change, view, change->new_row, i, WIRE_UNCHANGED))
			{
				const char *name = relation->columns[i].name;

				plinth_json_comma(out);
				plinth_json_string(out, name, strlen(name));
			}
	appendStringInfoCharMacro(out, ']');
}

/*
 * A row as an object; columns without a value in it are left out.
 */
static void
write_row(StringInfo out, const WireRelation *relation, const WireValue *row,
		  RowPart part, const Bitmapset *columns)
{
	appendStringInfoCharMacro(out, '{');
	for (int i = 0; row != NULL && part != ROW_NONE && i < relation->ncolumns; i++)
	{
		const WireColumn *column = &relation->columns[i];

		if ((part == ROW_KEY && !column->in_key) ||
			(row[i].state != WIRE_NULL && row[i].state != WIRE_TEXT) ||
			!bms_is_member(column->number, columns))
			continue;

		plinth_json_comma(out);
		plinth_json_string(out, column->name, strlen(column->name));
		appendStringInfoCharMacro(out, ':');
		write_value(out, column, &row[i]);
	}
	appendStringInfoCharMacro(out, '}');
}

static void
write_value(StringInfo out, const WireColumn *column, const WireValue *value)
{
	if (value->state == WIRE_NULL)
	{
		appendBinaryStringInfo(out, "null", 4);
		return;
	}
	if (value->made == NULL)
	{
		column->write_json(out, column, value->datum);
		return;
	}

	switch (column->form)
	{
		case WIRE_FORM_BOOL:
			appendStringInfoString(out, value->made[0] == 't' ? "true" : "false");
			return;
		case WIRE_FORM_JSON:
			appendBinaryStringInfo(out, value->made, value->made_length);
			return;
		case WIRE_FORM_NUMBER:
			/* NaN, Infinity and -Infinity are no JSON numbers */
			if (value->made_length > 0 &&
				value->made[value->made_length - 1] >= '0' &&
				value->made[value->made_length - 1] <= '9')
			{
				appendBinaryStringInfo(out, value->made, value->made_length);
				return;
			}
			break;
		case WIRE_FORM_STRING:
			break;
	}
	plinth_json_string(out, value->made, value->made_length);
}

static bool
has_state(const WireChange *change, const WireView *view, const WireValue *row,
		  int column, WireState state)
{
	return row != NULL && row[column].state == state &&
		   bms_is_member(change->relation->columns[column].number, view->columns);
}

/*
 * Does the reader's part of the change hold a value that was not kept?
 */
static bool
any_too_large(const WireChange *change, const WireView *view)
{
	for (int i = 0; i < change->relation->ncolumns; i++)
		if (has_state(change, view, change->new_row, i, WIRE_TOO_LARGE) ||
			(view->old_part == WIRE_OLD_WHOLE &&
			 has_state(change, view, change->old_row, i, WIRE_TOO_LARGE)))
			return true;
	return false;
}
