/** @file Asking the server. What it refuses is thrown as an Error with its words. */

async function answerOf(response: Response): Promise<Response> {
  if (response.ok) return response;
  throw new Error((await response.text()) || `the studio answered ${response.status}`);
}

const reached = (error: unknown): never => {
  throw error instanceof TypeError ? new Error('The studio does not answer: is attune studio still running?', { cause: error }) : error;
};

export const getJson = async <T>(path: string): Promise<T> => (await answerOf(await fetch(path).catch(reached))).json() as Promise<T>;

export const getText = async (path: string): Promise<string> => (await answerOf(await fetch(path).catch(reached))).text();

export async function post<T>(path: string, body: object, signal?: AbortSignal): Promise<T> {
  const response = await fetch(path, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), ...(signal && { signal }),
  }).catch(reached);
  return (await answerOf(response)).json() as Promise<T>;
}

export const runPath = (id: string, rest: string): string => `/api/runs/${encodeURIComponent(id)}/${rest}`;
