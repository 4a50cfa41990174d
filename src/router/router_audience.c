/*-------------------------------------------------------------------------
 *
 * router_audience.c
 *		Who may see a row image, as far as it can be told by looking at it.
 *
 * A route's tree is read with the image's values into two sets of users, those
 * who surely see the row and those who perhaps do.  Where both are the same,
 * nobody has to be asked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_audience.h"
#include "router/router_internal.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

/* An expression to be run under guard. */
typedef struct GuardedRun
{
	ExprState *state;
	ExprContext *econtext;
	bool passed;
} GuardedRun;

static void see_user(RouterAudience *audience, const RouterTerm *term,
					 const RouterImage *image);
static void see_members(RouterAudience *audience, ArrayType *array);
static void set_all(RouterUsers *users, bool all);
static void set_one(RouterUsers *users, const char *user);
static void copy_users(RouterUsers *to, const RouterUsers *from);
static void see_row(RouterAudience *audience, RouterTerm *term,
					RouterImage *image, ExprContext *econtext);
static void run_guarded(void *arg);
static void intersect(RouterUsers *left, const RouterUsers *right);
static void unite(RouterUsers *left, const RouterUsers *right, bool full);

/*
 * Take down what a change says of the row before, or after.
 *
 * An UPDATE that logs no old row left the columns of the replica identity as
 * they are, so that its new row has the old one's key.
 */
void
plinth_router_image(RouterImage *image, const WireChange *change, bool old,
					uint64 layout)
{
	memset(image, 0, sizeof(*image));
	image->relation = change->relation;
	image->there =
		change->action == WIRE_UPDATE ||
		(old ? change->action == WIRE_DELETE : change->action == WIRE_INSERT);
	if (!image->there)
		return;

	if (!old)
	{
		image->row = change->new_row;
		image->fallback = change->old_row;
		image->tuple = change->new_tuple;
		image->unknown = change->new_unknown;
	}
	else if (change->old_row != NULL)
	{
		image->row = change->old_row;
		image->tuple = change->old_tuple;
		image->unknown = change->old_unknown;
	}
	else
	{
		image->row = change->new_row;
		image->tuple = change->new_tuple;
		image->unknown = change->new_unknown;
		image->key_only = true;
	}
	if (old && !change->relation->identity_full)
		image->unknown =
			bms_union(image->unknown, change->relation->beyond_identity);

	if (image->tuple == NULL || change->relation->layout != layout)
	{
		image->tuple = NULL;
		image->lost = true;
	}
}

/*
 * A column's text.
 */
bool
plinth_router_field(const RouterImage *image, AttrNumber number, const char **text)
{
	int i = plinth_wire_column(image->relation, number);
	const WireValue *value;
	uint32 length;

	*text = NULL;
	if (i < 0 || image->row == NULL ||
		(image->key_only && !image->relation->columns[i].in_key))
		return false;
	value = &image->row[i];
	if (value->state == WIRE_UNCHANGED && image->fallback != NULL)
		value = &image->fallback[i];
	if (value->state == WIRE_TEXT)
		*text = plinth_wire_text(&image->relation->columns[i], value, &length);
	return value->state == WIRE_TEXT || value->state == WIRE_NULL;
}

/*
 * Are all these columns known, in the tuple?
 */
bool
plinth_router_knows(const RouterImage *image, const Bitmapset *columns)
{
	return image->tuple != NULL && !bms_overlap(image->unknown, columns);
}

/*
 * The tuple in a slot.
 */
void
plinth_router_load(RouterImage *image, TupleDesc desc, TupleTableSlot **slot)
{
	if (image->tuple == NULL)
		return;
	if (*slot == NULL)
		*slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	ExecStoreHeapTuple(image->tuple, *slot, false);
	(*slot)->tts_tableOid = image->tuple->t_tableOid;
	image->slot = *slot;
}

/*
 * Who may see an image.
 */
void
plinth_router_audience(RouterAudience *audience, RouterTerm *term,
					   RouterImage *image, ExprContext *econtext)
{
	check_stack_depth();

	switch (term->kind)
	{
		case ROUTER_TERM_TRUE:
			set_all(&audience->sure, true);
			set_all(&audience->perhaps, true);
			break;
		case ROUTER_TERM_FALSE:
			set_all(&audience->sure, false);
			set_all(&audience->perhaps, false);
			break;
		case ROUTER_TERM_USER:
			see_user(audience, term, image);
			break;
		case ROUTER_TERM_ROW:
			see_row(audience, term, image, econtext);
			break;
		case ROUTER_TERM_ASK:
			set_all(&audience->sure, false);
			set_all(&audience->perhaps, true);
			break;
		case ROUTER_TERM_AND:
		case ROUTER_TERM_OR:
			plinth_router_audience(audience, term->args[0], image, econtext);
			for (int i = 1; i < term->nargs; i++)
			{
				RouterAudience part;

				plinth_router_audience(&part, term->args[i], image, econtext);
				if (term->kind == ROUTER_TERM_AND)
				{
					intersect(&audience->sure, &part.sure);
					intersect(&audience->perhaps, &part.perhaps);
				}
				else
				{
					unite(&audience->sure, &part.sure, false);
					unite(&audience->perhaps, &part.perhaps, true);
				}
			}
			break;
	}
}

bool
plinth_router_has_user(const RouterUsers *users, const char *user)
{
	if (users->all)
		return true;
	for (int i = 0; i < users->count; i++)
		if (strcmp(users->users[i], user) == 0)
			return true;
	return false;
}

/*
 * The user that a column names, or the users.
 */
static void
see_user(RouterAudience *audience, const RouterTerm *term,
		 const RouterImage *image)
{
	const char *user = NULL;
	bool isnull = true;
	Datum value;

	set_all(&audience->sure, false);
	set_all(&audience->perhaps, false);
	if (term->type == UUIDARRAYOID ||
		!plinth_router_field(image, term->column, &user))
	{
		/* not published, perhaps; the tuple has it all the same */
		if (image->slot == NULL || bms_is_member(term->column, image->unknown))
		{
			set_all(&audience->perhaps, true);
			return;
		}
		value = slot_getattr(image->slot, term->column, &isnull);
		if (!isnull && term->type == UUIDARRAYOID)
		{
			see_members(audience, DatumGetArrayTypeP(value));
			return;
		}
		if (!isnull)
			user = term->type == UUIDOID
					   ? DatumGetCString(DirectFunctionCall1(uuid_out, value))
					   : TextDatumGetCString(value);
	}
	if (user != NULL)
	{
		set_one(&audience->sure, user);
		set_one(&audience->perhaps, user);
	}
}

/*
 * The users in an array.  When they are too many to be named, the others are
 * asked about.
 */
static void
see_members(RouterAudience *audience, ArrayType *array)
{
	Datum *members;
	bool *nulls;
	int count;

	deconstruct_array(array, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &members,
					  &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		RouterUsers user;

		if (nulls[i])
			continue;
		set_one(&user,
				DatumGetCString(DirectFunctionCall1(uuid_out, members[i])));
		unite(&audience->sure, &user, false);
		unite(&audience->perhaps, &user, true);
		if (audience->perhaps.all)
			break;
	}
}

/*
 * Everybody, or nobody.  A set is as large as what it may come to name, and
 * there are several for each change: of most only the head is ever written.
 */
static void
set_all(RouterUsers *users, bool all)
{
	users->all = all;
	users->count = 0;
}

static void
set_one(RouterUsers *users, const char *user)
{
	users->all = false;
	users->count = 1;
	users->users[0] = user;
}

static void
copy_users(RouterUsers *to, const RouterUsers *from)
{
	to->all = from->all;
	to->count = from->count;
	memcpy(to->users, from->users, from->count * sizeof(from->users[0]));
}

/*
 * An expression over the row.  One that fails is left to the identity's own
 * SELECT, which may not come to evaluate it.
 */
static void
see_row(RouterAudience *audience, RouterTerm *term, RouterImage *image,
		ExprContext *econtext)
{
	GuardedRun run = {.econtext = econtext};
	char *problem;

	set_all(&audience->sure, false);
	set_all(&audience->perhaps, true);
	if (image->slot == NULL || bms_overlap(term->columns, image->unknown))
		return;

	if (term->state == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(term));

		fix_opfuncids((Node *) term->expression);
		term->state = ExecInitExpr(term->expression, NULL);
		MemoryContextSwitchTo(old);
	}
	run.state = term->state;
	econtext->ecxt_scantuple = image->slot;
	if (!term->guarded)
		run_guarded(&run);
	else if (!plinth_router_guarded(run_guarded, &run, &problem))
		return;

	set_all(&audience->sure, run.passed);
	set_all(&audience->perhaps, run.passed);
}

static void
run_guarded(void *arg)
{
	GuardedRun *run = arg;
	bool isnull;
	Datum result = ExecEvalExprSwitchContext(run->state, run->econtext, &isnull);

	run->passed = !isnull && DatumGetBool(result);
	ResetExprContext(run->econtext);
}

static void
intersect(RouterUsers *left, const RouterUsers *right)
{
	int kept = 0;

	if (right->all)
		return;
	if (left->all)
	{
		copy_users(left, right);
		return;
	}
	for (int i = 0; i < left->count; i++)
		if (plinth_router_has_user(right, left->users[i]))
			left->users[kept++] = left->users[i];
	left->count = kept;
}

/*
 * A union that is too large to name becomes everybody when it has to be full,
 * else it leaves some out.
 */
static void
unite(RouterUsers *left, const RouterUsers *right, bool full)
{
	if (left->all)
		return;
	if (right->all)
	{
		set_all(left, true);
		return;
	}
	for (int i = 0; i < right->count; i++)
	{
		if (plinth_router_has_user(left, right->users[i]))
			continue;
		if (left->count == ROUTER_USERS_SIZE)
		{
			if (full)
				set_all(left, true);
			return;
		}
		left->users[left->count++] = right->users[i];
	}
}
