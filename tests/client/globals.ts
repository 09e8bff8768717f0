// What newswire.d.ts lets a page write that loads the classic script. Never run, like types.mts.

const push = newswire.connect({ url: "/push/" });
newswire.ab.debug(true);
push.close();
